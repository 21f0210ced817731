"""When a daemon looks after which profile, in simulated time: spread, never too late, never in step."""

import random
from collections import Counter

from vault_ticket_plugin.daemon.schedule import BACKOFF_MAX, SPREAD, START_RATE, Schedule
from vault_ticket_plugin.model import Ticket, Windows
from vault_ticket_plugin.secret import Secret

HOUR = 3600.0
WINDOWS = Windows()


def ticket(lifetime: float) -> Ticket:
    return Ticket(Secret("a.e30.b"), "Bearer", 0.0, lifetime)


def made(*names: str, seed: int = 1) -> Schedule:
    schedule = Schedule(random.Random(seed))
    schedule.replace(names, 0.0)
    return schedule


def first_due(schedule: Schedule) -> tuple[str, float]:
    at = schedule.next_at()
    assert at is not None
    name = schedule.due(at)
    assert name is not None
    return name, at


def test_a_name_is_handed_out_once_until_it_is_said_how_it_went() -> None:
    schedule = made("a")
    name, at = first_due(schedule)
    assert (name, schedule.due(at + HOUR), schedule.next_at()) == ("a", None, None)
    schedule.succeeded("a", at, ticket(HOUR), HOUR, WINDOWS)
    assert schedule.due(at) is None
    assert schedule.due(at + HOUR) == "a"


def test_a_ticket_is_refreshed_in_the_first_part_of_its_soft_window() -> None:
    soft, hard = WINDOWS.soft_for(HOUR), WINDOWS.hard_for(HOUR)
    for seed in range(200):
        schedule = made("a", seed=seed)
        _, now = first_due(schedule)
        schedule.succeeded("a", now, ticket(HOUR), HOUR, WINDOWS)
        at = schedule.next_at() or 0.0
        left = now + HOUR - at
        assert soft - SPREAD * (soft - hard) <= left <= soft


def test_failures_are_tried_again_ever_later_but_several_times_before_a_ticket_ends() -> None:
    schedule = made("a")
    _, now = first_due(schedule)
    waits = []
    for _ in range(12):
        schedule.failed("a", now, 0.0)
        _, at = first_due(schedule)
        waits.append(at - now)
        now = at
    assert waits[0] <= 1.0 < waits[4] < waits[-1] <= BACKOFF_MAX
    ends = now + 60.0
    tries = 0
    while now < ends:
        schedule.failed("a", now, ends - now)
        _, now = first_due(schedule)
        tries += 1
    assert 8 <= tries <= 60


def test_after_a_success_a_failure_is_tried_again_soon() -> None:
    schedule = made("a")
    _, now = first_due(schedule)
    for _ in range(10):
        schedule.failed("a", now, 0.0)
        _, now = first_due(schedule)
    schedule.succeeded("a", now, ticket(HOUR), HOUR, WINDOWS)
    _, now = first_due(schedule)
    schedule.failed("a", now, 600.0)
    assert (schedule.next_at() or 0.0) - now <= 1.0


def test_a_ticket_found_in_its_soft_window_is_tried_for_again() -> None:
    """Another holder is at it: nothing has failed, and nothing is fresh yet."""
    schedule = made("a")
    _, now = first_due(schedule)
    schedule.succeeded("a", now, ticket(HOUR), 600.0, WINDOWS)
    assert (schedule.next_at() or 0.0) - now <= 1.0


def test_names_come_and_go_and_others_keep_their_time() -> None:
    schedule = made("a", "b")
    times = {}
    for _ in range(2):
        name, now = first_due(schedule)
        schedule.succeeded(name, now, ticket(HOUR), HOUR, WINDOWS)
    for name in ("a", "b"):
        times[name] = schedule._at[name]
    schedule.replace(["b", "c"], 100.0)
    assert schedule.names() == {"b", "c"}
    assert schedule._at["b"] == times["b"]
    assert first_due(schedule)[0] == "c"
    schedule.replace(["b"], 101.0)
    schedule.failed("c", 101.0, 0.0)  # it was looked after when it went
    assert first_due(schedule)[0] == "b"
    assert schedule.next_at() is None


def test_ten_thousand_profiles_neither_thunder_nor_starve() -> None:
    """Four hours of one-hour tokens, none there at the start; a refresh takes 0.1 s and eight go on at once."""
    count, workers, takes = 10_000, 8, 0.1
    schedule = made(*(f"p{number}" for number in range(count)))
    fresh = ticket(HOUR)
    ends: dict[str, float] = {}
    refreshes: Counter[int] = Counter()
    least_left = HOUR
    free = [0.0] * workers
    while (at := schedule.next_at()) is not None and at < 4 * HOUR:
        free.sort()
        now = max(at, free[0])
        name = schedule.due(now)
        assert name is not None
        if name in ends:
            least_left = min(least_left, ends[name] - now)
        free[0] = now + takes
        refreshes[int(now)] += 1
        ends[name] = now + takes + HOUR
        schedule.succeeded(name, now + takes, fresh, HOUR, WINDOWS)
    assert len(ends) == count
    assert min(refreshes) == 0
    start_up = max(second for second in refreshes if second < 1000)
    assert start_up >= count / START_RATE - 1
    assert max(refreshes[second] for second in range(start_up)) <= 2 * START_RATE
    # Later each refresh comes somewhere in ten minutes: the load is even, a third of what the workers can do.
    later = [refreshes[second] for second in range(2 * int(HOUR), 4 * int(HOUR))]
    assert max(later) <= 2 * START_RATE
    assert least_left > WINDOWS.soft_for(HOUR) * (1 - SPREAD)
