"""The things we speak of: tickets, grants, claims and how fresh a ticket is. Frozen data, no behaviour beyond it.

A record of values is a NamedTuple, in every room: making such a class costs a process that imports it an eighth of what
a frozen dataclass costs, and a cold `get` imports a dozen. A token in one is a Secret, which prints nothing; what may
hold one as plain text, as a document of Vault's does, has a `__repr__` of its own. A frozen dataclass is what has parts
to work with (a store, a clock), or is never imported on the way of a `get`.

Times are seconds since the epoch by Vault's clock, unless a name says otherwise; spans are seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.secret import Secret

KvVersion = Literal[1, 2]

# Vault's clock reaches us through the Date header, which has whole seconds. A ticket with less left than one
# of its steps may already be over.
CLOCK_STEP = 1.0
# Ten years. No access token is meant to live that long: who says so means something else.
MAX_LIFETIME = 10 * 366 * 86400.0
# The defaults of the windows: a third of the lifetime, at most 20 min, and a tenth, at most 2 min.
SOFT_DEFAULT = 1200.0
HARD_DEFAULT = 120.0


class Location(NamedTuple):
    """A document in a KV secrets engine."""

    mount: str
    path: str
    """Below the mount."""
    kv_version: KvVersion = 2

    def __str__(self) -> str:
        return f"{self.mount}/{self.path}"


class Document(NamedTuple):
    """What one read of a location found."""

    data: Mapping[str, Any] | None
    """None if there is nothing to read."""
    version: int = 0
    """That of the version that was read, or that expired or was deleted: what check-and-set must name. 0 if it was
    never written, and on KV v1."""
    created_at: float | None = None
    """Of that version (KV v2 only)."""
    deletes_at: float | None = None
    destroyed: bool = False
    """Whether that version was taken away for good."""
    cached: bool = False
    """Whether a proxy on the way answered from memory: it may be stale."""

    def __repr__(self) -> str:
        return f"Document(version={self.version})"


class Freshness(enum.IntEnum):
    """How much of a ticket is left, best first. The field also calls a refresh in the soft window advisory, and one in
    the hard window mandatory."""

    FRESH = 0
    SOFT = 1  # in the soft window: refresh if nobody else is
    HARD = 2  # in the hard window: hand out only if nothing else can be had
    EXPIRED = 3


class Ticket(NamedTuple):
    """An access token and its lifetime."""

    access_token: Secret
    token_type: str
    """As the header spells it: `Bearer`."""
    issued_at: float
    expires_at: float

    @property
    def lifetime(self) -> float:
        return max(0.0, self.expires_at - self.issued_at)

    def left(self, now: float) -> float:
        return self.expires_at - now

    def usable(self, now: float) -> bool:
        return self.left(now) > CLOCK_STEP


class LiveTicket(NamedTuple):
    """A ticket at hand: when it ends by this host's clock, and why there is no fresher one if one was wanted."""

    ticket: Ticket
    ends: float
    """By this host's `Clock.monotonic()`."""
    problem: VaultTicketError | None = None
    shared: bool = True
    """Whether others may have it: not if a person stored the grant anew, or withdrew the ticket, while it was
    obtained."""
    unpublished: int | None = None
    """The version of the leased path to publish it on; None if it is there. It is not fresh before that."""

    @classmethod
    def at(cls, ticket: Ticket, vault_now: float, now: float) -> LiveTicket:
        """`vault_now` and `now`: the same moment by Vault's clock and by `Clock.monotonic()`."""
        return cls(ticket, now + ticket.left(vault_now))

    def left(self, now: float) -> float:
        """Seconds that it is still good for; `now` by `Clock.monotonic()`, as below."""
        return self.ends - now

    def usable(self, now: float) -> bool:
        return self.left(now) > CLOCK_STEP

    def vault_time(self, now: float) -> float:
        """Vault's time, as this host makes it out."""
        return self.ticket.expires_at - self.left(now)

    def for_host(self, wall: float, now: float) -> Ticket:
        """The ticket as a program here is told it. It goes by this host's clock (`wall`), and takes a ticket whose end
        is past by that for an expired one, however wrong the clock is."""
        if self.ticket.expires_at > wall + CLOCK_STEP:
            return self.ticket
        return self.ticket._replace(expires_at=wall + self.left(now))


class Windows(NamedTuple):
    """The soft and the hard window of a profile; None if the ticket's own lifetime decides.

    Whatever is configured, a window is cut to a share of the lifetime, so that a ticket straight from the
    server is always fresh and nobody refreshes in a circle.
    """

    soft: float | None = None
    hard: float | None = None

    def soft_for(self, lifetime: float) -> float:
        if self.soft is None:
            return min(SOFT_DEFAULT, lifetime / 3)
        return min(self.soft, lifetime / 2)

    def hard_for(self, lifetime: float) -> float:
        hard = min(HARD_DEFAULT, lifetime / 10) if self.hard is None else self.hard
        return min(hard, self.soft_for(lifetime) / 2)

    def freshness(self, ticket: Ticket, now: float, min_ttl: float = 0.0) -> Freshness:
        """`min_ttl`: a caller's own demand; a ticket that does not meet it counts as in the hard window."""
        left = ticket.left(now)
        if left <= CLOCK_STEP:
            return Freshness.EXPIRED
        if left < max(self.hard_for(ticket.lifetime), min_ttl):
            return Freshness.HARD
        if left < self.soft_for(ticket.lifetime):
            return Freshness.SOFT
        return Freshness.FRESH


class Demand(NamedTuple):
    """What a caller wants."""

    min_ttl: float = 0.0
    force: bool = False
    """Another ticket than `unwanted`, whatever is cached or remembered."""
    unwanted: Secret | None = None

    def but_not(self, ticket: Ticket | None) -> Demand:
        """By force, with the first ticket that was found as the unwanted one."""
        if not self.force or self.unwanted is not None or ticket is None:
            return self
        return self._replace(unwanted=ticket.access_token)

    def refuses(self, ticket: Ticket) -> bool:
        return self.unwanted is not None and ticket.access_token == self.unwanted

    def freshness(self, ticket: Ticket, windows: Windows, now: float) -> Freshness:
        if self.refuses(ticket):
            return Freshness.HARD if ticket.usable(now) else Freshness.EXPIRED
        return windows.freshness(ticket, now, self.min_ttl)


class ClientIdentity(NamedTuple):
    """Who asks the token endpoint (RFC 6749 section 2.2)."""

    id: str


class Claim(NamedTuple):
    """The right to spend the grant. When it is over, others tell by watching it (refresh/watch.py)."""

    id: str
    holder: str
    seconds: float
    """How long it lasts, counted by its holder from before it was written."""
    fingerprint: str
    """Names the refresh token that its holder is about to spend."""
    at: float | None = None
    """When it was made, for people to read; None if its holder did not say."""
    lock: str = ""
    """Names the lock of its host under which it was made (`Held.name`); empty if its maker had none."""


class Doubt(NamedTuple):
    """A spend whose answer nobody has read: the token named by `fingerprint` may be dead."""

    fingerprint: str
    holder: str
    at: float


class Rejection(NamedTuple):
    """The latch: the token endpoint said no for good to what `fingerprint` names (token, client and URL)."""

    fingerprint: str
    code: str
    at: float
    holder: str


class Refresh(NamedTuple):
    """The last refresh that was published."""

    at: float
    expires_at: float
    holder: str
    ticket: str
    """The access token's fingerprint."""


class Rotation(NamedTuple):
    """The last time that a rotated token was saved: `fingerprint` names the token that took the place of `spent`."""

    spent: str
    fingerprint: str
    at: float
    """When the token endpoint had answered."""


class Notes(NamedTuple):
    """What the grant document tells beside the refresh token: five notes, each None if there is nothing to tell."""

    claim: Claim | None = None
    doubt: Doubt | None = None
    rejection: Rejection | None = None
    not_before: float | None = None
    """The token endpoint asked for a pause until then."""
    refreshed: Refresh | None = None

    def released(self) -> Notes:
        """The claim is given back, and nothing was learnt."""
        return self._replace(claim=None, not_before=None)

    def settled(self, refreshed: Refresh | None) -> Notes:
        """The claim is given back, and the token was good: nothing that was held against it stands."""
        return Notes(refreshed=refreshed)

    def after_pause(self, not_before: float | None) -> Notes:
        """The claim is given back, nothing was spent, and the server may want a pause."""
        return self.released()._replace(not_before=not_before)

    def in_doubt(self, doubt: Doubt, not_before: float | None = None) -> Notes:
        """The claim is given back, and how the spend ended is not known."""
        return self._replace(claim=None, doubt=doubt, not_before=not_before)

    def after_rejection(self, rejection: Rejection, doubt: Doubt | None) -> Notes:
        """The claim is given back, and the token endpoint has said no for good."""
        return Notes(rejection=rejection, doubt=doubt, refreshed=self.refreshed)

    def rotated(self, doubt: Doubt | None) -> Notes:
        """Another refresh token is there: what was noted of the old one goes, the claim stays until it is released."""
        return Notes(claim=self.claim, doubt=doubt, refreshed=self.refreshed)


NO_NOTES = Notes()


class Grant(NamedTuple):
    """The grant document."""

    refresh_token: Secret
    client_id: str | None
    version: int
    document: Mapping[str, Any]
    """All of it, so that a rewrite keeps what others put there."""
    notes: Notes = NO_NOTES
    seeded_at: float | None = None
    """When a person put this token, or the one that it descends from, there; and …"""
    seeded_version: int | None = None
    """… in which version; None if an older program's notes don't say."""
    rotation: Rotation | None = None
    """How the token came there; None if a person put it there."""
    created_at: float | None = None
    """Of that version."""
    cached: bool = False
    """Whether a proxy on the way answered from memory: it may be stale."""

    def __repr__(self) -> str:
        return f"Grant(version={self.version}, {self.notes})"


class TokenResponse(NamedTuple):
    """A successful answer of the token endpoint (RFC 6749 section 5.1), spans in seconds."""

    access_token: Secret | None
    token_type: str = "Bearer"  # noqa: S105 - a scheme's name
    expires_in: float = 0.0
    refresh_token: Secret | None = None
    """None if the answer brings none, or the one we sent."""
    fault: VaultTicketError | None = None
    """Set, and `access_token` None, if the rest of the answer can't be used: a refresh token that came with it is saved
    all the same."""
