"""Vault and the token endpoint in memory, on a simulated clock. tests/contract/ holds them to what the real ones do.

Every call passes `before` and `after`, hooks in which a test counts, waits, fails or ends the caller:

    store = FakeVault(Time()).session()
    store.after = fail_once("write", CasMismatch("its answer was lost"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vault_ticket_plugin.clock import Clock, Deadline, Moment, RemoteClock
from vault_ticket_plugin.errors import (
    CasMismatch,
    ClientRejected,
    ConfigError,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
    VaultUnreachable,
)
from vault_ticket_plugin.model import ClientIdentity, Document, Location, TokenResponse
from vault_ticket_plugin.secret import Secret

# 2027-01-15T08:00:00.25Z: not a whole second, so that rounding shows.
START = 1_800_000_000.25
CLIENT = "client-1"

Hook = Callable[[str, str], None]


def nothing(call: str, path: str) -> None:
    """The hook of a quiet day."""


def fail(call: str, error: BaseException, path: str = "") -> Hook:
    """A hook that raises at each such call whose path ends with `path`."""

    def hook(name: str, where: str) -> None:
        if name == call and where.endswith(path):
            raise error

    return hook


def fail_once(call: str, error: BaseException, path: str = "", skip: int = 0) -> Hook:
    """A hook that raises at the first such call (after `skip` of them) whose path ends with `path`, and never again."""
    left = [skip + 1]

    def hook(name: str, where: str) -> None:
        if name == call and where.endswith(path):
            left[0] -= 1
            if left[0] == 0:
                raise error

    return hook


def lost_answer() -> CasMismatch:
    """What a write tells that was tried again after its answer was lost, and failed on itself or on somebody else."""
    mismatch = CasMismatch("somebody was quicker, or an earlier try of ours")
    mismatch.maybe_ours = True
    return mismatch


def once(call: str, do: Callable[[], object]) -> Hook:
    """A hook that does something else at the first such call, and never again."""
    todo = [do]

    def hook(name: str, _where: str) -> None:
        if name == call and todo:
            todo.pop()()

    return hook


@dataclass(slots=True)
class Time:
    """The one time that passes for everybody."""

    now: float = START


class SimClock(Clock):
    """A host's clock: `skew` seconds wrong. Sleeping lets the time pass at once."""

    def __init__(self, time: Time, skew: float = 0.0) -> None:
        self.time = time
        self.skew = skew

    def wall(self) -> float:
        return self.time.now + self.skew

    def monotonic(self) -> float:
        return self.time.now

    def sleep(self, seconds: float) -> None:
        self.time.now += seconds


@dataclass(slots=True)
class Version:
    text: str | None
    created_at: float
    deletes_at: float | None
    index: int  # of the write that made it, over all documents
    destroyed: bool = False

    def alive(self, now: float) -> bool:
        return self.text is not None and (self.deletes_at is None or now < self.deletes_at)


@dataclass(slots=True)
class Key:
    versions: list[Version] = field(default_factory=list)
    delete_after: float = 0.0
    custom: dict[str, str] = field(default_factory=dict)


class FakeVault:
    """KV documents, v1 and v2. `index` counts writes, as `X-Vault-Index` does."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.index = 0
        self._keys: dict[str, Key] = {}

    def session(self, clock: Clock | None = None) -> FakeStore:
        return FakeStore(self, clock or SimClock(self.time))

    def key(self, where: Location) -> Key:
        return self._keys.setdefault(str(where), Key())

    def read(self, where: Location, upto: int | None = None) -> Document:
        """As the leader knows it, or a standby that has seen the writes up to this index."""
        versions = [one for one in self.key(where).versions if upto is None or one.index <= upto]
        if not versions:
            return Document(None)
        found = versions[-1]
        data = json.loads(found.text) if found.text is not None and found.alive(self.time.now) else None
        if where.kv_version == 1:
            return Document(data)
        return Document(data, len(versions), found.created_at, found.deletes_at, found.destroyed)

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None = None) -> int:
        key = self.key(where)
        if where.kv_version == 2 and cas is not None and cas != len(key.versions):
            raise CasMismatch(f"{where} was written by somebody else at the same time")
        self.index += 1
        now = self.time.now
        ends = now + key.delete_after if key.delete_after else None
        key.versions.append(Version(json.dumps(data), now, ends, self.index))
        return 0 if where.kv_version == 1 else len(key.versions)

    def delete(self, where: Location) -> None:
        """`bao kv delete`: the newest version only."""
        self.key(where).versions[-1].deletes_at = self.time.now


class FakeStore:
    """`KvStore` (ports.py): one client's session.

    `behind`: the standby that it reads from lacks so many of the newest writes, but none of the client's own.
    """

    def __init__(self, vault: FakeVault, clock: Clock) -> None:
        self.vault = vault
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.behind = 0
        self.calls: list[tuple[str, str]] = []
        self._clock = clock
        self._index = 0
        self._vault_clock = RemoteClock()

    def now(self) -> Moment:
        return self._vault_clock.at(self._clock.monotonic()) or Moment(self._clock.wall(), self._clock.wall())

    def read(self, where: Location, deadline: Deadline) -> Document:
        self._begin("read", where, deadline)
        found = self.vault.read(where, max(self._index, self.vault.index - self.behind))
        self._end("read", where, deadline)
        return found

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None, deadline: Deadline) -> int:
        self._begin("write", where, deadline)
        version = self.vault.write(where, data, cas)
        index = self.vault.index
        self._end("write", where, deadline)
        self._index = index
        return version

    def current_version(self, where: Location, deadline: Deadline) -> int:
        self._begin("metadata", where, deadline)
        found = len(self.vault.key(where).versions)
        self._end("metadata", where, deadline)
        return found

    def custom_metadata(self, where: Location, deadline: Deadline) -> Mapping[str, Any]:
        self._begin("metadata", where, deadline)
        found = dict(self.vault.key(where).custom)
        self._end("metadata", where, deadline)
        return found

    def patch_custom_metadata(self, where: Location, changes: Mapping[str, str], deadline: Deadline) -> None:
        self._begin("note", where, deadline)
        if not self.vault.key(where).versions:
            raise ConfigError("Vault has no place for that")
        self.vault.key(where).custom |= changes
        self._end("note", where, deadline)

    def may_write(self, where: Location, new: bool, deadline: Deadline) -> bool:  # noqa: ARG002
        self._begin("capabilities", where, deadline)
        self._end("capabilities", where, deadline)
        return True

    def expire(self, where: Location, after: float, deadline: Deadline) -> None:
        self._begin("expire", where, deadline)
        self.vault.key(where).delete_after = float(int(after))
        self._end("expire", where, deadline)

    def destroy(self, where: Location, versions: list[int], deadline: Deadline) -> None:
        self._begin("destroy", where, deadline)
        key = self.vault.key(where)
        if where.kv_version == 1:
            key.versions.clear()
        for number in versions if where.kv_version == 2 else ():
            key.versions[number - 1].text, key.versions[number - 1].destroyed = None, True
        self._end("destroy", where, deadline)

    def _begin(self, call: str, where: Location, deadline: Deadline) -> None:
        self._left = self._clock.monotonic()
        self.calls.append((call, where.path))
        self.before(call, where.path)
        if deadline.passed():
            raise VaultUnreachable("Vault gives no answer: it took too long")

    def _end(self, call: str, where: Location, deadline: Deadline) -> None:
        self.after(call, where.path)
        if deadline.passed():
            raise VaultUnreachable("Vault gives no answer: it took too long")
        self._vault_clock.read(float(int(self.vault.time.now)), self._left, self._clock.monotonic())


@dataclass(slots=True)
class Family:
    """The refresh tokens that came of one grant, oldest first. `spent`: when the last but one was."""

    tokens: list[str]
    spent_at: float = 0.0
    revoked: bool = False


class FakeAuthServer:
    """An authorization server that rotates. Tokens tell their descent: `a-1` was rotated to `a-2`."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.rotate = True
        self.grace: float | None = None  # None: none at all; a rotated token gets the same pair again for so long
        self.reuse_detection = True
        self.lifetime = 3600.0
        self.clients = {CLIENT}
        self.refreshes = self.repeats = self.reuses = self.tickets = 0
        self._families: dict[str, Family] = {}
        self._tickets: dict[str, tuple[Family, float]] = {}

    def issue(self) -> str:
        turn, letter = divmod(len(self._families), 26)
        name = chr(ord("a") + letter) * (turn + 1)
        self._families[name] = Family([f"{name}-1"])
        return f"{name}-1"

    def revoke(self, token: str) -> None:
        self.family(token).revoked = True

    def family(self, token: str) -> Family:
        return self._families[token.partition("-")[0]]

    def newest(self, token: str) -> str:
        return self.family(token).tokens[-1]

    def current(self, token: str) -> bool:
        family = self.family(token)
        return not family.revoked and family.tokens[-1] == token

    def ticket_alive(self, ticket: str) -> bool:
        family, ends = self._tickets[ticket]
        return not family.revoked and self.time.now < ends

    def refresh(self, token: str, client_id: str) -> tuple[str, str]:
        """(access token, refresh token)."""
        if client_id not in self.clients:
            raise ClientRejected("the token endpoint refuses the client or the request", code="invalid_client")
        family = self._families.get(token.partition("-")[0])
        if family is None or family.revoked or token not in family.tokens:
            raise GrantRejected("the token endpoint says that the refresh token is not valid", code="invalid_grant")
        if token != family.tokens[-1]:
            in_grace = self.grace is not None and self.time.now - family.spent_at <= self.grace
            if not in_grace or token != family.tokens[-2]:
                self.reuses += 1
                if self.reuse_detection:
                    family.revoked = True
                raise GrantRejected("the token endpoint says that the refresh token is not valid", code="invalid_grant")
            self.repeats += 1
        else:
            self.refreshes += 1
            family.spent_at = self.time.now
            if self.rotate:
                stem, _, number = token.partition("-")
                family.tokens.append(f"{stem}-{int(number) + 1}")
        self.tickets += 1
        ticket = f"ticket-{self.tickets}"
        self._tickets[ticket] = (family, self.time.now + self.lifetime)
        return ticket, family.tokens[-1]


@dataclass(frozen=True, slots=True)
class Fault:
    """One request that goes wrong. `processed`: the token is spent all the same."""

    kind: Literal["unreachable", "busy", "lost", "not_oauth", "no_ticket"]
    processed: bool = False
    retry_after: float | None = None


class FakeEndpoint:
    """`TokenEndpoint` (ports.py): one client's connection to the server. `next`: each is used up by one request.

    `seen`: the tokens that were sent. `deadline`: by when the last request had to be answered. `brought`: the refresh
    tokens that came back.
    """

    def __init__(self, server: FakeAuthServer) -> None:
        self.server = server
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.next: list[Fault] = []
        self.seen: list[str] = []
        self.deadline: Deadline | None = None
        self.brought: list[str] = []

    def refresh(
        self, refresh_token: Secret, client: ClientIdentity, send_by: Deadline, deadline: Deadline
    ) -> TokenResponse:
        token = refresh_token.reveal()
        self.deadline = deadline
        self.before("spend", token)
        if send_by.passed():
            raise EndpointUnavailable("the token endpoint can't be reached: it took too long")
        fault = self.next.pop(0) if self.next else None
        if fault is not None and fault.kind == "unreachable":
            raise EndpointUnavailable("the token endpoint can't be reached: connection refused")
        self.seen.append(token)
        if fault is not None and fault.kind == "busy":
            raise EndpointUnavailable("the token endpoint is busy (status 429)", retry_after=fault.retry_after)
        if fault is None or fault.processed:
            ticket, newer = self.server.refresh(token, client.id)
        self.after("spend", token)
        if deadline.passed() or (fault is not None and fault.kind == "lost"):
            retry_after = None if fault is None else fault.retry_after
            raise SpendInDoubt(
                "the token endpoint's answer was lost: connection reset by peer", retry_after=retry_after
            )
        if fault is not None and fault.kind == "not_oauth":
            raise ProtocolError("the token endpoint's answer is not OAuth (status 200)")
        self.brought.append(newer)
        if fault is not None:
            return TokenResponse(
                None, refresh_token=Secret(newer), fault=ProtocolError("the answer has no access token")
            )
        # As the Ticket API says it: a second less than the token lives.
        return TokenResponse(Secret(ticket), "Bearer", max(0.0, self.server.lifetime - 1), Secret(newer))

    def revoke(
        self,
        access_token: Secret,  # noqa: ARG002
        client: ClientIdentity | None,  # noqa: ARG002
        deadline: Deadline,  # noqa: ARG002
    ) -> bool:
        return False
