"""Deadlines, pauses and RFC 3339."""

import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline, from_rfc3339, to_rfc3339


class Simulated(Clock):
    """Time passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def wall(self) -> float:
        return 1_700_000_000.0 + self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_a_deadline_passes_when_its_time_has_come() -> None:
    clock = Simulated()
    deadline = Deadline.after(10, clock)
    assert (deadline.left(), deadline.passed()) == (10.0, False)
    clock.sleep(9.5)
    assert (deadline.left(), deadline.passed()) == (0.5, False)
    clock.sleep(1)
    assert (deadline.left(), deadline.passed()) == (0.0, True)


def test_within_takes_the_sooner() -> None:
    clock = Simulated()
    deadline = Deadline.after(10, clock)
    assert deadline.within(3).left() == 3
    assert deadline.within(30).left() == 10


@given(initial=st.floats(0.001, 5), maximum=st.floats(0.001, 10), total=st.floats(0.0, 60))
def test_pauses_grow_to_the_longest_and_never_outlast_the_deadline(
    initial: float, maximum: float, total: float
) -> None:
    clock = Simulated()
    deadline = Deadline.after(total, clock)
    backoff, bound = deadline.backoff(initial, maximum), initial
    for _ in range(50):
        before = clock.time
        if not backoff.sleep():
            assert clock.time == before
            break
        assert clock.time - before <= bound + 1e-9
        bound = min(maximum, bound * 2)
    assert clock.time <= deadline.at


def test_no_pause_is_left_when_the_deadline_has_passed() -> None:
    clock = Simulated()
    assert not Deadline.after(0, clock).backoff(0.1, 1.0).sleep()
    assert clock.time == 1000.0


def test_what_a_server_asked_for_comes_before_the_jitter() -> None:
    clock = Simulated()
    assert Deadline.after(60, clock).backoff(1.0, 1.0).sleep(30.0)
    assert 1030 <= clock.time <= 1031
    assert not Deadline.after(60, clock).backoff(1.0, 1.0).sleep(60.0)


def test_two_waiters_do_not_pause_in_step() -> None:
    """Jitter: sixty waiting processes shall not knock at the same moment."""
    clocks = [Simulated() for _ in range(10)]
    assert all(Deadline.after(60, clock).backoff(1.0, 1.0).sleep() for clock in clocks)
    assert len({clock.time for clock in clocks}) > 1


def test_the_hosts_clock_is_the_systems() -> None:
    before = time.time()
    assert before <= HOST_CLOCK.wall() <= time.time()
    one, two = HOST_CLOCK.monotonic(), HOST_CLOCK.monotonic()
    assert one <= two


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds are naive
def test_a_time_is_shown_in_whole_seconds_rounded_down_and_reads_back(moment: datetime) -> None:
    shown = to_rfc3339(moment.timestamp())
    assert shown.endswith("Z")
    assert len(shown) == len("2026-11-23T20:48:04Z")
    assert from_rfc3339(shown) == math.floor(moment.timestamp())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2001-09-09T01:46:40Z", 1_000_000_000),
        ("2001-09-09T03:46:40+02:00", 1_000_000_000),
        ("2001-09-08T20:46:40.5-05:00", 1_000_000_000.5),
        ("2001-09-09T01:46:40.123456789Z", 1_000_000_000.123456),
    ],
)
def test_what_vault_and_people_write_is_read(text: str, seconds: float) -> None:
    """Vault writes nanoseconds; a person's offset may be any."""
    assert from_rfc3339(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", ["", "now", "2001-09-09T01:46:40", "2001-09-09", "1000000000", "2001-13-09T01:46:40Z"])
def test_what_is_no_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_rfc3339(text)


@given(st.text(st.sampled_from("0123456789-:.+TZ ")) | st.text())
def test_no_text_brings_anything_but_seconds_or_a_value_error(text: str) -> None:
    try:
        seconds = from_rfc3339(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
