"""Vault's nodes: a leader, a standby that lags, restarts, a seal, and each one's clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple

from tests.simulation.scheduler import START
from tests.simulation.vault import Reply, Request, State, answer
from vault_ticket_plugin.transport.exchange import HttpResponse


class Past(NamedTuple):
    """The state that the leader had from then on."""

    since: float
    state: State


class Refused(NamedTuple):
    """No connection: nothing listens there."""

    reason: str = "connection refused"


class Cluster:
    """What answers at Vault's addresses. Writes, and reads that ask for it, go to the leader."""

    def __init__(self, state: State, now: Callable[[], float]) -> None:
        self._now = now
        self.history = [Past(START, state)]
        self.lag = 0.0
        """Seconds that the standby is behind."""
        self.skew = 0.0
        """Seconds that the leader's clock is ahead."""
        self.standby_skew = 0.0
        """Seconds that the standby's clock is ahead of the leader's."""
        self.down_until = self.sealed_until = START

    @property
    def state(self) -> State:
        """As the leader has it."""
        return self.history[-1].state

    def clock(self) -> float:
        """The leader's."""
        return self._now() + self.skew

    def put(self, state: State) -> None:
        """What the leader knows from now on; what no standby can still be at is forgotten."""
        now = self._now()
        self.history.append(Past(now, state))
        while len(self.history) > 2 and self.history[1].since < now - 60:
            del self.history[0]

    def act(self, method: str, path: str, body: Any = None, token: str = "root-token") -> Reply:
        """A person's request to the leader, which is processed at once."""
        state, reply = answer(self.state, Request(method, path, body, token), self.clock())
        self.put(state)
        return reply

    def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, at_standby: bool
    ) -> HttpResponse | Refused:
        """One request, at the leader or at the standby."""
        if self._now() < self.down_until:
            return Refused()
        if self._now() < self.sealed_until:
            return self._response(Reply(503, {"errors": ["Vault is sealed"]}), at_standby, None)

        try:
            plain = None if body is None else json.loads(body)
        except ValueError:
            return self._response(Reply(400, {"errors": ["failed to parse JSON input"]}), at_standby, None)
        request = Request(method, path, plain, headers.get("x-vault-token", ""))
        local = self._local(method, headers) if at_standby else None
        if local is not None:
            return self._response(answer(local, request, self.clock())[1], at_standby, None)

        before = self.state
        state, reply = answer(before, request, self.clock())
        if state is not before:
            self.put(state)
        return self._response(reply, at_standby, state.writes if state.writes != before.writes else None)

    def _local(self, method: str, headers: dict[str, str]) -> State | None:
        """What the standby answers a read with; None if it passes the request on to the leader."""
        if method != "GET":
            return None
        seen = self._now() - self.lag
        state = next((past.state for past in reversed(self.history) if past.since <= seen), self.history[0].state)
        wanted = int(headers.get("x-vault-index") or 0)
        if headers.get("x-vault-inconsistent") == "forward-active-node" and state.writes < wanted:
            return None
        return state

    def _response(self, reply: Reply, at_standby: bool, index: int | None) -> HttpResponse:
        headers = {"content-type": "application/json", **reply.headers}
        clock = self.clock() + (self.standby_skew if at_standby else 0.0)
        headers["date"] = formatdate(int(clock), usegmt=True)
        if index is not None:
            headers["x-vault-index"] = str(index)
        body = b"" if reply.body is None else json.dumps(reply.body).encode()
        return HttpResponse(reply.status, headers, body)
