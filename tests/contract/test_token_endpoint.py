"""One contract for `TokenEndpoint`: what the in-memory one does, the real one does over HTTP."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.fakes import CLIENT, FakeAuthServer, FakeEndpoint, Fault, SimClock, Time
from tests.support import faults
from tests.support.emulator import Emulator
from tests.support.faults import Fault as HttpFault
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
)
from vault_ticket_plugin.model import ClientIdentity, TokenResponse
from vault_ticket_plugin.oauth.token_endpoint import HttpTokenEndpoint
from vault_ticket_plugin.ports import TokenEndpoint
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

OVER_HTTP: dict[str, Callable[[Fault], HttpFault]] = {
    "busy": lambda fault: faults.busy(None if fault.retry_after is None else int(fault.retry_after)),
    "lost": lambda fault: faults.reset(processed=fault.processed),
    "not_oauth": lambda _: faults.html(),
    "no_ticket": lambda _: faults.answer("access_token"),
}


@dataclass(frozen=True)
class Bench:
    endpoint: TokenEndpoint
    issue: Callable[[], str]
    behave: Callable[[bool, float], None]  # rotate, grace
    fail: Callable[[Fault], None]  # the next request
    away: Callable[[], None]
    alive: Callable[[str], bool]  # a refresh token: alive, and its family's newest
    counts: Callable[[], tuple[int, int, int]]  # refreshes, repeats, reuses
    wait: Callable[[float], None]
    clock: Clock = field(default=HOST_CLOCK)

    def refresh(self, token: str, client: str = CLIENT) -> TokenResponse:
        deadline = Deadline.after(5, self.clock)
        return self.endpoint.refresh(Secret(token), ClientIdentity(client), deadline, deadline)

    def refreshed(self, token: str) -> tuple[str, str]:
        """(access token, refresh token) of a refresh that works."""
        answer = self.refresh(token)
        assert answer.access_token is not None
        assert answer.refresh_token is not None
        return answer.access_token.reveal(), answer.refresh_token.reveal()


def in_memory() -> Iterator[Bench]:
    passing = Time()
    server = FakeAuthServer(passing)
    endpoint = FakeEndpoint(server)

    def behave(rotate: bool, grace: float) -> None:
        server.rotate, server.grace = rotate, grace or None

    def wait(seconds: float) -> None:
        passing.now += seconds

    yield Bench(
        endpoint=endpoint,
        issue=server.issue,
        behave=behave,
        fail=endpoint.next.append,
        away=lambda: endpoint.next.append(Fault("unreachable")),
        alive=server.current,
        counts=lambda: (server.refreshes, server.repeats, server.reuses),
        wait=wait,
        clock=SimClock(passing),
    )


def over_http(api: Emulator) -> Iterator[Bench]:
    profile = Profile.standard("contract")

    def behave(rotate: bool, grace: float) -> None:
        api.behaviour.rotate, api.behaviour.grace = rotate, grace

    def counts() -> tuple[int, int, int]:
        stats = api.stats()
        return stats.refreshes, stats.repeats, stats.reuses

    yield Bench(
        endpoint=HttpTokenEndpoint(
            Profile("contract", profile.grant, profile.ticket, token_url=api.token_url), HOST_CLOCK
        ),
        issue=lambda: api.issue_grant(CLIENT),
        behave=behave,
        fail=lambda fault: api.behaviour.next.append(OVER_HTTP[fault.kind](fault)),
        away=api.stop,
        alive=api.refresh_current,
        counts=counts,
        wait=time.sleep,
    )


@pytest.fixture(params=["memory", "http"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "memory":
        yield from in_memory()
    else:
        yield from over_http(request.getfixturevalue("emulator"))


def test_a_refresh_brings_a_ticket_and_rotates(bench: Bench) -> None:
    first = bench.issue()
    answer = bench.refresh(first)
    assert answer.token_type == "Bearer"
    assert answer.expires_in == 3599
    assert answer.fault is None
    assert answer.refresh_token is not None
    assert bench.alive(answer.refresh_token.reveal())
    assert not bench.alive(first)


def test_without_rotation_the_same_refresh_token_comes_back(bench: Bench) -> None:
    bench.behave(False, 0)
    token = bench.issue()
    assert bench.refreshed(token)[1] == token
    assert bench.refreshed(token)[1] == token
    assert bench.counts() == (2, 0, 0)


def test_a_second_use_kills_the_whole_family(bench: Bench) -> None:
    first = bench.issue()
    _, second = bench.refreshed(first)
    with pytest.raises(GrantRejected) as caught:
        bench.refresh(first)
    assert caught.value.code == "invalid_grant"
    with pytest.raises(GrantRejected):
        bench.refresh(second)
    assert bench.counts() == (1, 0, 1)


def test_inside_the_grace_a_second_use_brings_the_same_rotated_token(bench: Bench) -> None:
    bench.behave(True, 60)
    first = bench.issue()
    _, second = bench.refreshed(first)
    assert bench.refreshed(first)[1] == second
    assert bench.alive(second)
    assert bench.counts() == (1, 1, 0)


def test_after_the_grace_a_second_use_is_a_reuse(bench: Bench) -> None:
    bench.behave(True, 0.2)
    first = bench.issue()
    bench.refreshed(first)
    bench.wait(0.3)
    with pytest.raises(GrantRejected):
        bench.refresh(first)
    assert bench.counts() == (1, 0, 1)


def test_two_generations_back_is_a_reuse_inside_the_grace_too(bench: Bench) -> None:
    bench.behave(True, 60)
    first = bench.issue()
    _, second = bench.refreshed(first)
    bench.refreshed(second)
    with pytest.raises(GrantRejected):
        bench.refresh(first)
    assert bench.counts() == (2, 0, 1)


def test_an_unknown_client_is_told_apart_from_a_dead_token(bench: Bench) -> None:
    token = bench.issue()
    with pytest.raises(ClientRejected) as caught:
        bench.refresh(token, "another")
    assert caught.value.code == "invalid_client"
    assert bench.alive(token)


def test_a_busy_server_spends_nothing_and_says_when_to_come_back(bench: Bench) -> None:
    token = bench.issue()
    bench.fail(Fault("busy", retry_after=7))
    with pytest.raises(EndpointUnavailable) as caught:
        bench.refresh(token)
    assert not isinstance(caught.value, SpendInDoubt)
    assert caught.value.retry_after == 7
    assert bench.alive(token)


def test_a_server_that_is_not_there_spends_nothing(bench: Bench) -> None:
    token = bench.issue()
    bench.away()
    with pytest.raises(EndpointUnavailable) as caught:
        bench.refresh(token)
    assert not isinstance(caught.value, SpendInDoubt)
    assert bench.alive(token)


@pytest.mark.parametrize("processed", [True, False])
def test_a_lost_answer_leaves_it_in_doubt_whether_the_token_was_spent(bench: Bench, processed: bool) -> None:
    token = bench.issue()
    bench.fail(Fault("lost", processed=processed))
    with pytest.raises(SpendInDoubt):
        bench.refresh(token)
    assert bench.alive(token) is not processed


def test_what_is_not_oauth_is_an_error_of_its_own(bench: Bench) -> None:
    bench.fail(Fault("not_oauth"))
    with pytest.raises(ProtocolError):
        bench.refresh(bench.issue())


def test_an_answer_without_a_ticket_still_brings_the_rotated_token(bench: Bench) -> None:
    bench.fail(Fault("no_ticket", processed=True))
    answer = bench.refresh(bench.issue())
    assert answer.access_token is None
    assert isinstance(answer.fault, ProtocolError)
    assert answer.refresh_token is not None
    assert bench.alive(answer.refresh_token.reveal())


def test_too_late_nothing_is_sent(bench: Bench) -> None:
    token, now, later = bench.issue(), Deadline.after(0, bench.clock), Deadline.after(5, bench.clock)
    with pytest.raises(EndpointUnavailable) as caught:
        bench.endpoint.refresh(Secret(token), ClientIdentity(CLIENT), now, later)
    assert not isinstance(caught.value, SpendInDoubt)
    assert bench.alive(token)


def test_without_a_revocation_url_nothing_is_revoked(bench: Bench) -> None:
    assert bench.endpoint.revoke(Secret("t"), ClientIdentity(CLIENT), Deadline.after(5, bench.clock)) is False
