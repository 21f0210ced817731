"""The claim: the right to spend the grant, taken and given back by check-and-set on the grant document.

Steps (2) and (3) of the transaction, and the last half of (6).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline, to_rfc3339
from vault_ticket_plugin.errors import Busy, CasMismatch, ConfigError, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.events import EventSink, token_event
from vault_ticket_plugin.model import Claim, Demand, Doubt, Grant, Notes
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import grant_document, watch
from vault_ticket_plugin.refresh.carrier import Held, Request, Waiter
from vault_ticket_plugin.refresh.notes import known_doubt, raise_known_failure, renewed_rejection, unresolved_spend
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.refresh.watch import Standing, Watcher, Watches
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Takings that may be lost in a row before we wait: perhaps only an edit came between, or it was ours and its answer
# was lost.
TAKINGS = 2


# What is left at least, in seconds, to save what an answer brought in the last moment of the claim. The journal has it
# by then.
MIN_SAVING = 1.0


class ActiveClaim(NamedTuple):
    """The grant is ours to spend."""

    grant: Grant
    """As it stands in Vault, with our claim."""
    found: Grant
    """As it was before."""
    ends: Deadline
    """When the claim does. Whatever is done under it is bounded by that, and by nobody's patience."""
    spend_by: Deadline
    """The last moment to begin the spend: its answer shall fit in."""

    def saving(self, clock: Clock) -> Deadline:
        """For what is done with an answer, which is judged by what the document holds and not by the claim: it may go
        on after that has ended."""
        return Deadline(max(self.ends.at, clock.monotonic() + MIN_SAVING), clock)


class Attempt(NamedTuple):
    """Who wants the claim, and how: the same through all its tries."""

    id: str
    """Of the claim that it may come to."""
    late: float
    """How much longer than a claim's length this one watches it, in seconds."""
    demand: Demand
    deadline: Deadline
    """Of the caller's patience."""
    patient: bool
    caller: Waiter
    lock: Held | None
    """The host's lock, if there is one."""

    @classmethod
    def begin(cls, demand: Demand, deadline: Deadline, patient: bool, caller: Waiter, lock: Held | None) -> Attempt:
        return cls(secrets.token_hex(8), watch.jitter(), demand, deadline, patient, caller, lock)


@dataclass(frozen=True, slots=True)
class Claims:
    """Takes and releases the claim on one profile's grant."""

    profile: Profile
    store: KvStore
    watches: Watches
    holder: str
    clock: Clock
    emit: EventSink

    def take(self, attempt: Attempt) -> ActiveClaim | Claim | VaultUnreachable | None:
        """Our claim, or the one that another holder has; None if others were quicker each time, and an error if Vault
        was too slow in taking it.

        Busy if the caller is gone. Once it is about to be written, nobody's leaving ends it any more.
        """
        lost: int | None = None
        for _ in range(TAKINGS):
            # (2) Read the grant: what is known to fail is not tried.
            grant = self._look(attempt)
            if grant.cached and grant.version == lost:
                raise _stale(self.profile)
            found = self._found(grant, attempt)
            if isinstance(found, Claim):
                return found
            if not attempt.demand.force:
                raise_known_failure(grant, self.profile, self.store.now(), attempt.patient, found)

            # (3) Claim it. One of ours, whose answer was lost, is written anew.
            if attempt.caller.gone():
                raise Busy("nobody waits for this ticket any more", "Nothing was spent.")
            attempt.caller.commit()
            claimed = self._write_claim(grant, found, attempt)
            if claimed is not None:
                return claimed
            lost = grant.version
        return None

    def _look(self, attempt: Attempt) -> Grant:
        """The grant; what is seen of its claim is kept for whoever looks next."""
        try:
            grant = self._read(attempt.deadline)
        except VaultTicketError:
            self.watches.forget()
            raise
        return grant

    def _found(self, grant: Grant, attempt: Attempt) -> Doubt | Claim | None:
        """The claim, if it is another holder's and not over; else what is in doubt about the token, if anything is."""
        match Watcher(self.watches, self.clock, attempt.lock, attempt.late).standing(grant, attempt.id):
            case Standing.LIVES:
                return grant.notes.claim
            case Standing.OVER:
                return unresolved_spend(grant)
            case Standing.FREE:
                return known_doubt(grant)

    def _write_claim(
        self, grant: Grant, doubt: Doubt | None, attempt: Attempt
    ) -> ActiveClaim | VaultUnreachable | None:
        """None if somebody else wrote first. ConfigError if there is no Client ID to spend it with."""
        grant_document.needed_client(self.profile, grant)
        now, lock = self.store.now(), attempt.lock
        seconds = self.profile.claim_seconds
        ends = Deadline.after(seconds, self.clock)
        notes = Notes(
            claim=Claim(
                id=attempt.id,
                holder=self.holder,
                seconds=seconds,
                fingerprint=grant.refresh_token.fingerprint(),
                at=now.earliest,
                lock=lock.name() if lock is not None else "",
            ),
            doubt=doubt,
            rejection=renewed_rejection(grant, self.profile, now),
            # A holder that died may have published: its predecessor's note would hide that from the next one.
            refreshed=None if grant.notes.claim is not None else grant.notes.refreshed,
        )

        claimed = grant_document.with_notes(grant, notes)
        spend_by = ends.within(seconds - self.profile.request_timeout)
        try:
            version = self.store.write(self.profile.grant, claimed.document, grant.version, spend_by)
        except CasMismatch:
            self._emit(grant, "lost")
            return None
        except VaultUnreachable as error:
            return error  # too little of the claim would be left: it is made anew
        _cross_out(lock)
        self._emit(grant, "taken")
        return ActiveClaim(claimed._replace(version=version), grant, ends, spend_by)

    def announce(self, claimed: ActiveClaim, lock: Held | None) -> None:
        """We are about to send: whoever has the lock after us then knows what may be under way, and until when."""
        if lock is None:
            return
        try:
            lock.note_request(Request(claimed.grant.refresh_token.fingerprint(), claimed.ends.at))
        except OSError as error:
            self.release(claimed, claimed.grant.notes.released())
            raise Busy(f"the lock of this host can't be written ({error.strerror})", "Nothing was spent.") from None

    def release(self, claimed: ActiveClaim, notes: Notes) -> bool:
        """Give the claim back, with what is now known. False if the document holds another refresh token.

        A release that fails is no failure of ours: the claim ends by itself.
        """
        deadline = claimed.saving(self.clock)
        backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
        grant, same = claimed.grant, True
        try:
            while True:
                freed = grant_document.with_notes(grant, notes)
                try:
                    self.store.write(self.profile.grant, freed.document, grant.version, deadline)
                    return same
                except CasMismatch:
                    if not backoff.sleep():
                        return same

                grant = self._read(deadline)
                same = grant.refresh_token == claimed.grant.refresh_token
                if not grant_document.same_claim(grant, claimed.grant):
                    return same  # given back already, or taken over, or written anew
                if not same:  # edited by a person who left our notes in: they are about another token
                    notes = notes.settled(notes.refreshed)
        except VaultTicketError as error:
            log.info("the claim was not given back (%s); it ends by itself", error.message)
            return same

    def _read(self, deadline: Deadline) -> Grant:
        return grant_document.read(self.store, self.profile.grant, self.profile.name, deadline)

    def _emit(self, grant: Grant, outcome: str) -> None:
        self.emit(token_event("claim", self.profile.name, outcome, self.holder, grant.refresh_token))


def held(claim: Claim | None) -> Busy:
    """Another holder has it; None if it can't be told who."""
    who = claim.holder if claim else "another holder"
    since = f" since {to_rfc3339(claim.at)}" if claim and claim.at is not None else ""
    return Busy(
        f"{who} has been refreshing this ticket{since} and has not finished in time",
        "Try again: a holder that died is waited for no longer than the claim's time.",
    )


def _cross_out(lock: Held | None) -> None:
    """The request of an earlier holder: the claim that has just replaced its own notes what is in doubt about it.

    Never before that: a claim that fails would leave that holder's own claim, and nothing to tell that it has sent.
    """
    if lock is not None:
        with contextlib.suppress(OSError):  # taken for ours, it only makes the next one wait
            lock.note_request(None)


def _stale(profile: Profile) -> ConfigError:
    """Check-and-set has said that there is a newer version, and the answer is the old one from memory again."""
    return ConfigError(
        f"a caching proxy on the way to Vault serves an old version of {profile.grant}",
        "Name the server itself (VAULT_ADDR or `address` under [vault]), or turn static secret caching off for it.",
    )
