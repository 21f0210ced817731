"""Whose claim is over: told by watching it, as leader election in Kubernetes does, and never by comparing two clocks.

A claim is over when the document has stood on one version for the claim's length and a little more, by the observer's
own clock, between two looks that both worked. It is then taken over by check-and-set on that very version: two looks at
one version prove that nothing was written between them, so a suspended observer, a standby that lags and a host whose
clock is wrong do no harm, and whatever was written meanwhile makes the write fail.
"""

from __future__ import annotations

import enum
import random
from typing import NamedTuple, Protocol

from vault_ticket_plugin.clock import Clock
from vault_ticket_plugin.model import Claim, Grant
from vault_ticket_plugin.refresh.carrier import Held

# What a claim may say of its length, in seconds. A bound of the observer's own making would end a living claim of a
# host that is configured for a slower server; none would let anybody who may edit the document stop a fleet.
MIN_SECONDS, MAX_SECONDS = 5.0, 300.0
# Not all who watch take over at once: so much later, at most. It also covers what two hosts' clocks differ in rate.
MAX_JITTER = 2.0


class Watch(NamedTuple):
    """What was seen of a claim."""

    version: str
    """Of the document, as `version_of` names it."""
    since: float
    """By `Clock.monotonic()`: the first of the looks that found that version and no other."""


class Watches(Protocol):
    """Where what was seen is kept for the next call (host/claim_watch.py)."""

    def read(self) -> Watch | None:
        """None if there is none of this boot."""

    def keep(self, watch: Watch) -> None: ...

    def forget(self) -> None:
        """A look has failed, or there is no claim any more."""


class Standing(enum.Enum):
    """How it is with the claim on a grant."""

    FREE = "free"
    """There is none, or it is our own, or its holder has ended and had sent nothing."""
    OVER = "over"
    """It is over, and what its holder sent may have arrived."""
    LIVES = "lives"
    """Its holder may be spending."""


class Watcher(NamedTuple):
    """Who judges others' claims."""

    watches: Watches
    clock: Clock
    lock: Held | None
    """The host's lock, if we have it."""
    late: float
    """How much longer than a claim's length this one watches it, in seconds."""

    def standing(self, grant: Grant, own: str) -> Standing:
        """`grant`: as just read. `own`: the id of a claim that is not another's.

        A claim that was made under the lock that we have now is over: its job has ended. If a request of its may still
        be under way, it is waited for. Any other is watched; what was seen of it is kept for the next look.
        """
        claim, now = grant.notes.claim, self.clock.monotonic()
        if claim is None:
            self.watches.forget()
            return Standing.FREE
        if claim.id == own:
            return Standing.FREE

        if self.lock is not None and claim.lock and claim.lock == self.lock.name():
            request = self.lock.request()
            if request is None or request.fingerprint != claim.fingerprint:
                return Standing.FREE
            return Standing.LIVES if request.ends > now else Standing.OVER

        version, before = version_of(grant), self.watches.read()
        if is_over(claim, version, before, now, self.late):
            return Standing.OVER
        self.watches.keep(after_look(version, before, now))
        return Standing.LIVES


def version_of(grant: Grant) -> str:
    """Numbers begin anew if the document's metadata is deleted, or Vault restored: so the time and the claim too."""
    claim = grant.notes.claim
    return f"{grant.version} {grant.created_at} {claim.id if claim else ''}"


def seconds_of(claim: Claim) -> float:
    """Its length, within what is believed."""
    return min(MAX_SECONDS, max(MIN_SECONDS, claim.seconds))


def jitter() -> float:
    """One observer's own, the same at each of its looks."""
    return random.uniform(0.0, MAX_JITTER)  # noqa: S311 - spreads load, guards nothing


def is_over(claim: Claim, version: str, watch: Watch | None, now: float, late: float) -> bool:
    """`watch`: what was kept before this look. `late`: this observer's jitter."""
    return watch is not None and watch.version == version and now - watch.since >= seconds_of(claim) + late


def after_look(version: str, watch: Watch | None, now: float) -> Watch:
    """What is to be kept after this look."""
    return watch if watch is not None and watch.version == version and watch.since <= now else Watch(version, now)
