"""The things we speak of: tickets, grants, claims and how fresh a ticket is. Frozen data, no behaviour beyond it.

Plain records are NamedTuples: making such a class costs a process that imports it a fifth of what a frozen dataclass
costs. A token in one is a Secret, which prints nothing. What has a document of Vault's in it is a dataclass: that may
hold a token as plain text, and must not be printed.

Times are seconds since the epoch by Vault's clock, unless a name says otherwise; spans are seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.secret import Secret

KvVersion = Literal[1, 2]

# Vault's clock reaches us through the Date header, which has whole seconds. A ticket with less left than one
# of its steps may already be over.
CLOCK_STEP = 1.0
# The defaults of the windows: a third of the lifetime, at most 20 min, and a tenth, at most 2 min.
SOFT_DEFAULT = 1200.0
HARD_DEFAULT = 120.0


class Location(NamedTuple):
    """A document in a KV secrets engine: where it is mounted, the path below the mount, the engine's version."""

    mount: str
    path: str
    kv_version: KvVersion = 2

    def __str__(self) -> str:
        return f"{self.mount}/{self.path}"


@dataclass(frozen=True, slots=True)
class Document:
    """What one read of a location found.

    `data` is None where there is nothing to read; `version` is then 0 (never written) or that of the version
    that expired or was deleted, which is what check-and-set must name. On KV v1 every version is 0.
    `created_at` and `deletes_at` belong to that version (KV v2 only).
    """

    data: Mapping[str, Any] | None = field(repr=False)
    version: int = 0
    created_at: float | None = None
    deletes_at: float | None = None


class Freshness(enum.IntEnum):
    """How much of a ticket is left, best first."""

    FRESH = 0
    SOFT = 1  # in the soft window: refresh if nobody else is
    HARD = 2  # in the hard window: hand out only if nothing else can be had
    EXPIRED = 3


class Ticket(NamedTuple):
    """An access token and its lifetime. `token_type` is as the header spells it: `Bearer`."""

    access_token: Secret
    token_type: str
    issued_at: float
    expires_at: float

    @property
    def lifetime(self) -> float:
        return max(0.0, self.expires_at - self.issued_at)

    def left(self, now: float) -> float:
        return self.expires_at - now

    def usable(self, now: float) -> bool:
        return self.left(now) > CLOCK_STEP


class Windows(NamedTuple):
    """The soft and the hard window of a profile; None where the ticket's own lifetime decides.

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


class Claim(NamedTuple):
    """The right to spend the grant. `fingerprint` names the refresh token that its holder is about to spend.

    `at`: when it was made; None where its holder did not say.
    """

    id: str
    holder: str
    until: float
    fingerprint: str
    at: float | None = None


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
    """The last refresh that was published: when, until when, by whom, and the ticket's fingerprint."""

    at: float
    expires_at: float
    holder: str
    ticket: str


class Demand(NamedTuple):
    """What a caller wants: at least `min_ttl` seconds, and with `force` another ticket than `unwanted`."""

    min_ttl: float = 0.0
    force: bool = False
    unwanted: Secret | None = None

    def freshness(self, ticket: Ticket, windows: Windows, now: float) -> Freshness:
        if self.unwanted is not None and ticket.access_token == self.unwanted:
            return Freshness.HARD if ticket.usable(now) else Freshness.EXPIRED
        return windows.freshness(ticket, now, self.min_ttl)


@dataclass(frozen=True, slots=True)
class Grant:
    """The grant document. `document` is all of it, so that a rewrite keeps what others put there."""

    refresh_token: Secret
    client_id: str | None
    version: int
    document: Mapping[str, Any] = field(repr=False)
    claim: Claim | None = None
    doubt: Doubt | None = None
    rejection: Rejection | None = None
    not_before: float | None = None
    refreshed: Refresh | None = None
    seeded_at: float | None = None


class TokenResponse(NamedTuple):
    """A successful answer of the token endpoint (RFC 6749 section 5.1), spans in seconds.

    `refresh_token` is None where the answer brings none or the one we sent. `fault` is set, and `access_token` None,
    where the rest of the answer can't be used: a refresh token that came with it is saved all the same.
    """

    access_token: Secret | None
    token_type: str = "Bearer"  # noqa: S105 - a scheme's name
    expires_in: float = 0.0
    refresh_token: Secret | None = None
    fault: VaultTicketError | None = None


# How the hint of a remembered failure goes on.
REMEMBERED = "(This is remembered for "


class Heard(NamedTuple):
    """What this host's daemon hands out, and Vault's time as it does. `alone`: there is no Vault to ask beside it."""

    ticket: Ticket
    now: float
    alone: bool
