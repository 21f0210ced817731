"""The claim: the right to spend the grant, taken and given back by check-and-set on the grant document.

Steps (2) and (3) of the transaction, and the last half of (6).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import Busy, CasMismatch, ConfigError, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.events import EventSink, token_event
from vault_ticket_plugin.model import CLOCK_STEP, Claim, Demand, Grant, Notes
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import grant_document
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.refresh.notes import raise_known_failure, renewed_rejection, unresolved_spend
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Takings that may be lost in a row before we wait: perhaps only an edit came between, or it was ours and its answer
# was lost.
TAKINGS = 2


class ActiveClaim(NamedTuple):
    """The grant is ours to spend."""

    grant: Grant
    """As it stands in Vault, with our claim."""
    found: Grant
    """As it was before."""
    ends: Deadline
    """When the claim does. Whatever is done under it is bounded by that, and by nobody's patience."""
    spend_by: Deadline
    """The last moment to send the request: its answer, and the save after it, must fit in."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Takes and releases the claim on one profile's grant."""

    profile: Profile
    store: KvStore
    holder: str
    clock: Clock
    emit: EventSink

    def take(
        self, claim_id: str, demand: Demand, deadline: Deadline, patient: bool, caller: Waiter
    ) -> ActiveClaim | Claim | VaultUnreachable | None:
        """Our claim, or the one that another holder has; None if others were quicker each time, and an error if Vault
        was too slow in taking it.

        Busy if the caller is gone. Once it is about to be written, nobody's leaving ends it any more.
        """
        lost: int | None = None
        for _ in range(TAKINGS):
            # (2) Read the grant: what is known to fail is not tried.
            grant = self._read(deadline)
            if grant.cached and grant.version == lost:
                raise _stale(self.profile)
            now, claim = self.store.now(), grant.notes.claim
            if not demand.force:
                raise_known_failure(grant, self.profile, now, patient)

            # (3) Claim it, unless another holder has. One of ours, whose answer was lost, is written anew.
            if claim is not None and claim.until >= now and claim.id != claim_id:
                return claim
            if caller.gone():
                raise Busy("nobody waits for this ticket any more", "Nothing was spent.")
            caller.commit()
            claimed = self._write_claim(grant, claim_id, now)
            if claimed is not None:
                return claimed
            lost = grant.version
        return None

    def _write_claim(self, grant: Grant, claim_id: str, now: float) -> ActiveClaim | VaultUnreachable | None:
        """None if somebody else wrote first. ConfigError if there is no Client ID to spend it with."""
        grant_document.needed_client(self.profile, grant)
        ends = Deadline.after(self.profile.claim_time, self.clock)
        spend_by = ends.within(self.profile.claim_time - self.profile.request_timeout)
        expiry = now + self.profile.claim_time + CLOCK_STEP
        notes = Notes(
            claim=Claim(claim_id, self.holder, expiry, grant.refresh_token.fingerprint(), now),
            doubt=unresolved_spend(grant, self.profile, now),
            rejection=renewed_rejection(grant, self.profile, now),
            # A holder that died may have published: its predecessor's note would hide that from the next one.
            refreshed=None if grant.notes.claim is not None else grant.notes.refreshed,
        )

        claimed = grant_document.with_notes(grant, notes)
        try:
            version = self.store.write(self.profile.grant, claimed.document, grant.version, spend_by)
        except CasMismatch:
            self._emit(grant, "lost")
            return None
        except VaultUnreachable as error:
            return error  # too little of the claim would be left: it is made anew
        self._emit(grant, "taken")
        return ActiveClaim(claimed._replace(version=version), grant, ends, spend_by)

    def release(self, claimed: ActiveClaim, notes: Notes) -> bool:
        """Give the claim back, with what is now known. False if the document holds another refresh token.

        A release that fails is no failure of ours: the claim ends by itself.
        """
        deadline = claimed.ends
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


def _stale(profile: Profile) -> ConfigError:
    """Check-and-set has said that there is a newer version, and the answer is the old one from memory again."""
    return ConfigError(
        f"a caching proxy on the way to Vault serves an old version of {profile.grant}",
        "Name the server itself (VAULT_ADDR or `address` under [vault]), or turn static secret caching off for it.",
    )
