"""The keeper over a source of the test's own: what it keeps, what it hands out, what it tells."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.fakes import SimClock, Time
from tests.support.process import wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon import keeper as keeping
from vault_ticket_plugin.daemon.keeper import Change, Keeper
from vault_ticket_plugin.errors import (
    Busy,
    ConfigError,
    EndpointUnavailable,
    GrantRejected,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

HOUR = 3600.0


class Source:
    """Gives tickets of an hour, a new one each time, or fails with `error`, beside `usable` if that is set."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.asked: list[tuple[str, Demand]] = []
        self.error: VaultTicketError | None = None
        self.usable: Ticket | None = None
        self.made = 0
        self.before: Callable[[str], None] = lambda _name: None

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        self.asked.append((profile, demand))
        assert 0 < deadline.left() <= 30
        self.before(profile)
        if self.error is not None and self.usable is None:
            raise self.error
        now = self.time.now
        return LiveTicket.at(self.usable or self.make(profile), now, now)._replace(problem=self.error)

    def make(self, name: str) -> Ticket:
        self.made += 1
        now = self.time.now
        return Ticket(Secret(f"{name}-{self.made}"), "Bearer", now, now + HOUR)


class Site:
    def __init__(self, *names: str) -> None:
        self.time = Time()
        self.clock = SimClock(self.time)
        self.source = Source(self.time)
        self.changes: list[Change] = []
        self.keeper = Keeper(2, self.clock, self.changes.append)
        self.configure(*names)

    def configure(self, *names: str, ticket_key: str = "1") -> None:
        self.keeper.replace({name: (Profile.standard(name), ticket_key) for name in names}, self.source)

    def deadline(self) -> Deadline:
        return Deadline.after(20, self.clock)

    def token(self, name: str, min_ttl: float = 0.0) -> str:
        return self.keeper.ticket(name, Demand(min_ttl=min_ttl), self.deadline()).ticket.access_token.reveal()

    def told(self) -> list[tuple[str, str]]:
        return [(change.what, change.profile) for change in self.changes]

    @contextmanager
    def running(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self.keeper.run, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            self.keeper.stop(ended)
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def site() -> Site:
    return Site("a")


def test_what_is_kept_is_handed_out_without_asking(site: Site) -> None:
    assert site.keeper.ready("a") is None
    assert [site.token("a"), site.token("a")] == ["a-1", "a-1"]
    kept = site.keeper.ready("a")
    assert kept is not None
    assert kept.left(site.clock.monotonic()) == HOUR
    assert len(site.source.asked) == 1


def test_in_the_soft_window_it_is_handed_out_still_and_in_the_hard_one_another_is_asked_for(site: Site) -> None:
    site.token("a")
    site.time.now += HOUR - 200  # the soft window has 1200 s, the hard one 120
    assert site.token("a") == "a-1"
    site.time.now += 100
    assert site.token("a") == "a-2"


def test_who_asks_for_more_time_gets_another(site: Site) -> None:
    site.token("a")
    site.time.now += 600
    assert site.token("a", min_ttl=3001) == "a-2"
    assert site.source.asked[-1] == ("a", Demand(min_ttl=3001))


def test_more_than_any_ticket_has_is_refused_as_by_get(site: Site) -> None:
    with pytest.raises(ConfigError, match="live 1h"):
        site.token("a", min_ttl=HOUR + 1)


def test_a_usable_ticket_is_handed_out_whatever_fails(site: Site) -> None:
    site.token("a")
    site.source.error = VaultUnreachable("Vault is away")
    site.time.now += HOUR - 50
    assert site.token("a") == "a-1"
    site.time.now += 60
    with pytest.raises(VaultUnreachable):
        site.token("a")


def test_a_profile_that_is_not_there_is_refused(site: Site) -> None:
    assert (site.keeper.profile("b"), site.keeper.ready("b"), site.keeper.usable("b")) == (None, None, None)
    with pytest.raises(ConfigError, match="no profile 'b'"):
        site.token("b")


def test_an_error_that_is_no_error_of_ours_is_told_without_its_text(site: Site) -> None:
    def broken(_name: str) -> None:
        raise RuntimeError("hunter2")

    site.source.before = broken
    with pytest.raises(VaultTicketError, match="a bug in vault-ticket: RuntimeError") as caught:
        site.token("a")
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 70


def test_an_older_answer_does_not_replace_a_newer_one(site: Site) -> None:
    old = site.source.make("a")
    site.time.now += 10
    site.token("a")
    site.source.usable = old
    site.keeper.look_after("a")
    assert site.token("a") == "a-2"


def test_hooks_are_told_of_each_change_once(site: Site) -> None:
    site.keeper.look_after("a")
    assert site.told() == [("refreshed", "a")]
    site.source.error, site.source.usable = EndpointUnavailable("away"), site.source.make("a")
    for _ in range(3):
        site.keeper.look_after("a")
    assert site.told() == [("refreshed", "a"), ("refreshed", "a"), ("failing", "a")]
    site.source.error = GrantRejected("dead", "mend it", code="invalid_grant")
    site.keeper.look_after("a")
    site.keeper.look_after("a")
    assert site.told()[3:] == [("dead", "a")]
    assert site.changes[-1].error is site.source.error
    site.source.error = site.source.usable = None
    site.keeper.look_after("a")
    assert site.told()[4:] == [("refreshed", "a"), ("recovered", "a")]
    assert site.keeper.states()["a"].standing == "good"


def test_another_holder_at_work_is_no_failure(site: Site) -> None:
    site.source.error, site.source.usable = Busy("web-2 is at it"), site.source.make("a")
    assert isinstance(site.keeper.look_after("a"), Busy)
    assert site.told() == [("refreshed", "a")]


def test_once_looks_after_each_and_tells_what_failed() -> None:
    site = Site("a", "b", "c")

    def b_fails(name: str) -> None:
        if name == "b":
            raise GrantRejected("dead", "mend it", code="invalid_grant")

    site.source.before = b_fails
    failed = site.keeper.once()
    assert sorted(name for name, _ in site.source.asked) == ["a", "b", "c"]
    assert {name: type(error) for name, error in failed.items()} == {"b": GrantRejected}


def test_a_changed_configuration_keeps_what_means_the_same_ticket() -> None:
    site = Site("a", "b")
    assert [site.token("a"), site.token("b")] == ["a-1", "b-2"]
    site.configure("a", "c")
    assert site.token("a") == "a-1"
    assert site.keeper.profile("b") is None
    site.configure("a", "c", ticket_key="2")
    assert site.keeper.ready("a") is None
    assert site.token("a") == "a-3"


# -- with the scheduler running


def test_all_profiles_are_looked_after_and_a_suspended_machine_wakes_up_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes in a suspended machine is seen at the next turn."""
    monkeypatch.setattr(keeping, "MAX_WAIT", 0.02)
    site = Site("a", "b", "c")
    with site.running():
        site.time.now += 1  # past the spread of the start
        wait_until(lambda: all(one.standing == "good" for one in site.keeper.states().values()), "the first tickets")
        asked = len(site.source.asked)
        assert asked == 3
        site.time.now += 2 * HOUR
        wait_until(lambda: len(site.source.asked) == asked + 3, "the next tickets")
        wait_until(lambda: all(site.keeper.ready(name) for name in "abc"), "fresh ones")
        assert site.keeper.alive()
    site.time.now += HOUR
    assert not site.keeper.alive()


def test_no_more_than_the_workers_are_under_way_and_stopping_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MAX_WAIT", 0.02)
    site = Site(*"abcdef")
    go, inside, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def slow(_name: str) -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        go.wait(10)
        with lock:
            inside[0] -= 1

    site.source.before = slow
    with site.running():
        site.time.now += 1
        wait_until(lambda: inside[0] == 2, "both workers at work")
        threading.Timer(0.2, go.set).start()
    assert inside[0] == 0, "stopping has left something under way"
    assert most[0] == 2


def test_the_windows_of_a_reload_hold_at_once(site: Site) -> None:
    site.token("a")
    profile = Profile.standard("a")
    windows = Windows(hard=1000.0, soft=1500.0)
    site.keeper.replace({"a": (profile._replace(windows=windows), "1")}, site.source)
    site.time.now += HOUR - 700  # in a hard window of 750: half of the soft one
    assert site.keeper.ready("a") is None
