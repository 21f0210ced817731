"""Any interleaving of calls on several hosts, step by step, over the real Transaction and Issuer.

What goes wrong is drawn too: SIGKILL between any two steps, lost answers, an unreachable Vault, time that passes,
stale reads, a person who stores the grant anew or edits it. docs/promela proves the protocol; this holds the
code to it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes import FakeAuthServer, Time
from tests.refresh.stepping import Call, now_running, stepped
from tests.world import World
from vault_ticket_plugin.errors import GrantRejected, VaultTicketError
from vault_ticket_plugin.secret import Secret

HOSTS = ("web-1", "web-2", "web-3")
AT_ONCE = 4
# More than any call needs that nobody disturbs.
MAX_STEPS = 2000

numbers = st.integers(0, AT_ONCE - 1)
stops = st.sampled_from(
    [f"{when} {what}" for when in ("before", "after") for what in ("spend", "read grant", "write grant", "write token")]
)


class WatchedServer(FakeAuthServer):
    """Checks each request at the moment when it is processed."""

    def __init__(self, time: Time, model: Protocol) -> None:
        super().__init__(time)
        self.model = model

    def refresh(self, token: str, client_id: str) -> tuple[str, str]:
        call = now_running()
        assert call is not None
        self.model.judge_spend(call, token)
        return super().refresh(token, client_id)


class Protocol(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="model-")
        self.world = World(Path(self.folder.name))
        self.world.server = self.server = WatchedServer(self.world.time, self)
        self.calls: list[Call] = []
        self.lost: dict[Call, str] = {}  # the token whose answer this call itself has lost
        self.delivered: dict[str, str] = {}  # by family: the newest refresh token that a call has read
        self.seeded = family(self.world.seed())  # the family that a person stored last
        self.edits: int | None = None
        self.seeds_left, self.edits_left = 1, 2

    @initialize(forgiving=st.booleans(), ticket=st.sampled_from([None, -5.0, 600.0, 60.0]))
    def begin(self, forgiving: bool, ticket: float | None) -> None:
        """A server that gives the last pair again, or one that kills the family; a ticket that is over or nearly so."""
        self.server.grace = 1e9 if forgiving else None
        if ticket is not None:
            self.world.put_ticket(left=ticket)

    # -- what happens

    @property
    def running(self) -> list[Call]:
        return [call for call in self.calls if not call.done]

    def pick(self, number: int) -> Call:
        return self.running[number % len(self.running)]

    @rule(host=st.sampled_from(HOSTS), force=st.booleans())
    @precondition(lambda self: len(self.running) < AT_ONCE)
    def somebody_asks(self, host: str, force: bool) -> None:
        self.start(host, force)

    def start(self, host: str, force: bool) -> Call:
        where = stepped(self.world.host(host), self.world.time)
        call = Call(where, lambda process: process.get(force=force))
        self.calls.append(call)
        return call

    @rule(number=numbers, steps=st.integers(1, 3))
    @precondition(lambda self: self.running)
    def one_goes_on(self, number: int, steps: int) -> None:
        call = self.pick(number)
        for _ in range(steps):
            if not call.done:
                self.step(call)

    @rule(number=numbers, stop=stops)
    @precondition(lambda self: self.running)
    def one_goes_on_to(self, number: int, stop: str) -> None:
        self.lead(self.pick(number), stop)

    @rule(number=numbers, stop=stops)
    @precondition(lambda self: self.running)
    def one_is_killed_at(self, number: int, stop: str) -> None:
        call = self.pick(number)
        self.lead(call, stop)
        if not call.done:
            call.kill()

    @rule(number=numbers, stop=stops)
    @precondition(lambda self: self.running)
    def something_fails_at(self, number: int, stop: str) -> None:
        call = self.pick(number)
        self.lead(call, stop)
        if not call.done:
            at, path = call.at, call.path
            if call.fail() and at == "after spend":
                self.lost[call] = path
            self.judge_end(call)

    def lead(self, call: Call, stop: str) -> None:
        """Lets it go on until it stands at `stop`, or to its end."""
        for _ in range(40):
            if not call.done:
                self.step(call)
            at = f"{call.at} {call.path.rpartition('/')[2]}" if "/" in call.path else call.at
            if call.done or at == stop:
                return

    @rule(number=numbers, behind=st.sampled_from([1, 3, 5]))
    @precondition(lambda self: self.running)
    def its_standby_lags(self, number: int, behind: int) -> None:
        self.pick(number).process.store.behind = behind

    @rule(seconds=st.sampled_from([0.4, 3.0, 9.0, 17.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(left=st.sampled_from([-1.0, 60.0, 1000.0]))
    @precondition(lambda self: self.ends() is not None)
    def the_ticket_grows_old(self, left: float) -> None:
        self.world.time.now = max(self.world.time.now, (self.ends() or 0.0) - left)

    def ends(self) -> float | None:
        """When the published ticket does."""
        return self.world.vault.read(self.world.profile.ticket).deletes_at

    @rule(anew=st.booleans())
    @precondition(lambda self: self.seeds_left)
    def a_person_stores_the_grant_anew(self, anew: bool) -> None:
        """All of it, or by a patch that leaves our notes in."""
        self.seeds_left -= 1
        token = self.server.issue()
        self.seeded = family(token)
        if anew:
            self.edits = None
            self.world.seed(token)
        else:
            self.world.edit(refresh_token=token)

    @rule()
    @precondition(lambda self: self.edits_left)
    def a_person_edits_another_field(self) -> None:
        self.edits_left -= 1
        self.edits = (self.edits or 0) + 1
        self.world.edit(edits=self.edits)

    # -- what must hold

    def step(self, call: Call) -> None:
        call.step()
        for token in call.process.endpoint.brought:
            self.delivered[family(token)] = token
        call.process.endpoint.brought.clear()
        self.judge_end(call)

    def judge_spend(self, call: Call, token: str) -> None:
        for other in self.running:
            deadline = other.process.endpoint.deadline
            waits = other.at == "after spend" and deadline is not None and not deadline.passed()
            assert other is call or not waits or other.path != token, "a token is in two requests at once"
        grant = self.world.grant()
        if not self.server.current(token) and not self.server.family(token).revoked:
            mine = Secret(token).fingerprint()
            # Noted when it was claimed; a journal's late save hands the doubt on to the token that it brings.
            claimed = grant.notes.claim is not None and grant.notes.claim.holder == call.process.holder
            about = {grant.notes.doubt.fingerprint} if grant.notes.doubt is not None else set()
            if about and claimed and grant.notes.claim is not None:
                about.add(grant.notes.claim.fingerprint)
            assert mine in about or self.lost.get(call) == token, "a rotated token is spent, and nobody had a doubt"
            assert not call.host.waiting(), "a token is spent though the journal has what it was rotated to"

    def judge_end(self, call: Call) -> None:
        if call.done and call.error is not None:
            assert isinstance(call.error, VaultTicketError), call.error
            assert type(call.error) is not VaultTicketError

    @invariant()
    def no_rotated_token_is_lost(self) -> None:
        for name, token in self.delivered.items():
            if name != self.seeded or not self.server.current(token):
                continue
            kept = [entry.refresh_token for host in self.world.hosts.values() for entry in host.waiting()]
            assert self.world.token == token or Secret(token) in kept, "a rotated token is lost"

    @invariant()
    def what_a_person_wrote_stands(self) -> None:
        assert family(self.world.token) == self.seeded, "a person's token was overwritten"
        assert self.world.document().get("edits") == self.edits, "a person's edit was overwritten"

    @invariant()
    def a_forgiving_server_never_sees_a_reuse(self) -> None:
        assert self.server.grace is None or self.server.reuses == 0

    def teardown(self) -> None:
        try:
            self.in_the_end_everybody_gets_a_ticket()
        finally:
            for call in self.running:
                call.kill()
            self.world.close()
            self.folder.cleanup()

    def in_the_end_everybody_gets_a_ticket(self) -> None:
        """Whoever is under way ends; then, with nothing in the way, a call on any host succeeds by itself.

        Or it is told who lost the answer, and a new refresh token mends it.
        """
        for call in self.running:
            call.process.store.behind = 0
            self.finish(call)
        self.world.wait(61)
        for host in HOSTS:
            call = self.finish(self.start(host, force=False))
            if isinstance(call.error, GrantRejected):
                assert self.server.family(self.world.token).revoked
                assert "its answer was lost" in call.error.message, call.error.message
                self.seeded, self.edits = family(self.world.seed()), None
                self.world.wait(61)
                call = self.finish(self.start(host, force=False))
            assert call.error is None, call.error
            assert call.result is not None
        self.no_rotated_token_is_lost()
        self.what_a_person_wrote_stands()
        self.a_forgiving_server_never_sees_a_reuse()

    def finish(self, call: Call) -> Call:
        for _ in range(MAX_STEPS):
            if call.done:
                return call
            self.step(call)
        raise AssertionError(f"the call does not end: {call.at} {call.path}")


def family(token: str) -> str:
    return token.partition("-")[0]


HOW: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}


class TestProtocol(Protocol.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=400, stateful_step_count=30, derandomize=True, **HOW)


@pytest.mark.slow
class TestProtocolAtLength(Protocol.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=5000, stateful_step_count=40, **HOW)
