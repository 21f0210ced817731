"""The refresh transaction: claim, spend, save, publish, release. One spend for the whole fleet.

The order and its reasons stand in docs/protocol.md, what may go wrong at each step and how it heals too.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import (
    Busy,
    CasMismatch,
    ClientRejected,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.events import Event, EventSink, Kind, nobody
from vault_ticket_plugin.model import CLOCK_STEP, Claim, Demand, Doubt, Freshness, Grant, Refresh, Ticket, TokenResponse
from vault_ticket_plugin.ports import KvStore, TokenEndpoint
from vault_ticket_plugin.refresh import grant_document, leased_path, rotation
from vault_ticket_plugin.refresh import notes as verdicts
from vault_ticket_plugin.refresh import spend as spending
from vault_ticket_plugin.refresh.journal import Entry, Journal
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Between two looks while another holder has the claim: soon enough not to be felt, rare enough for Vault to bear
# a fleet of waiting hosts.
LOOK_INITIAL, LOOK_MAX = 0.1, 1.0
# What a holder still gets, after its caller's patience is over, to save, publish and release.
WRAP_UP_SECONDS = 3.0


class Outcome(NamedTuple):
    """A ticket, and whether others may have it: not where a person stored the grant anew meanwhile."""

    ticket: Ticket
    shared: bool = True


class ActiveClaim(NamedTuple):
    """A claimed grant. `ends`: when the claim does; nothing is sent after that. `doubt`: how it was found."""

    grant: Grant
    ends: Deadline
    doubt: Doubt | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """`holder`: who we are, as others read it in a claim. `grant_key`: what a journal's entry belongs to."""

    profile: Profile
    store: KvStore
    endpoint: TokenEndpoint
    journal: Journal
    holder: str
    grant_key: str
    clock: Clock
    tell: EventSink = nobody

    def look(self, deadline: Deadline) -> LeasedVersion:
        return leased_path.look(self.store, self.profile.ticket, deadline)

    def freshness(self, ticket: Ticket, demand: Demand) -> Freshness:
        return demand.freshness(ticket, self.profile.windows, self.store.now())

    def refresh(self, seen: LeasedVersion, demand: Demand, deadline: Deadline, patient: bool) -> Outcome:
        """Spend the grant, or get what somebody else's spend brought.

        `seen`: the leased path as last looked at. Without patience (a usable ticket is at hand) Busy is raised at
        once where another holder has the claim; with it, when the deadline passes.
        """
        good_enough = Freshness.SOFT if patient else Freshness.FRESH
        pauses = deadline.pauses(LOOK_INITIAL, LOOK_MAX)
        claim_id = secrets.token_hex(8)
        missed = False
        while True:
            grant = self._read_grant(deadline)
            now = self.store.now()
            if grant.claim is not None and grant.claim.id == claim_id:
                # Our own write, whose answer was lost.
                held = ActiveClaim(grant, Deadline.after(grant.claim.until - CLOCK_STEP - now, self.clock), grant.doubt)
                break
            if not demand.force:
                verdicts.raise_known_failure(grant, self.profile, now, patient)
            if grant.claim is None or grant.claim.until < now:
                ends = Deadline.after(self.profile.claim_time, self.clock)
                expiry = now + self.profile.claim_time + CLOCK_STEP
                claim = Claim(claim_id, self.holder, expiry, grant.refresh_token.fingerprint(), now)
                claimed = self._write_claim(grant, claim, deadline)
                if claimed is not None:
                    held = ActiveClaim(claimed, ends, claimed.doubt)
                    break
                if not missed:  # once, read again at once: perhaps it was ours, or only an edit came between
                    missed = True
                    continue
            self._wait(pauses, grant.claim, patient)
            seen = self.look(deadline)
            if seen.ticket is not None and self.freshness(seen.ticket, demand) <= good_enough:
                return Outcome(seen.ticket)
        if verdicts.somebody_may_have_finished(grant, seen):
            seen = self.look(deadline)
            if seen.ticket is not None and self.freshness(seen.ticket, demand) <= good_enough:
                self._release(held, deadline, **_unspent(held))
                return Outcome(seen.ticket)
        outcome = self._spend_and_settle(held, seen, deadline)
        return self.refresh(seen, demand, deadline, patient) if outcome is None else outcome

    def _read_grant(self, deadline: Deadline) -> Grant:
        return grant_document.read(self.store, self.profile.grant, self.profile.name, deadline)

    def _write_claim(self, grant: Grant, claim: Claim, deadline: Deadline) -> Grant | None:
        """The grant with our claim, or None where somebody else wrote first."""
        doubt = verdicts.unresolved_spend(grant, self.profile, self.store.now())
        # A holder that died may have published: its predecessor's note would hide that from the next one.
        refreshed = None if grant.claim is not None else grant.refreshed
        claimed = grant_document.with_notes(
            grant, claim=claim, doubt=doubt, rejection=grant.rejection, refreshed=refreshed
        )
        try:
            version = self.store.write(self.profile.grant, claimed.document, grant.version, deadline)
        except CasMismatch:
            self._tell("claim", grant.refresh_token, "lost")
            return None
        self._tell("claim", grant.refresh_token, "taken")
        return replace(claimed, version=version)

    def _wait(self, pauses: Iterator[float], claim: Claim | None, patient: bool) -> None:
        if not patient or next(pauses, None) is None:
            raise Busy(
                f"{claim.holder if claim else 'another holder'} is refreshing this ticket and has not finished in time",
                "Try again: a holder that died is waited for no longer than the claim's time.",
            )

    def _spend_and_settle(self, held: ActiveClaim, seen: LeasedVersion, deadline: Deadline) -> Outcome | None:
        """The claim is ours: spend, and leave the document telling how it ended.

        None where the token we tried is dead but a person has stored another: begin anew.
        """
        # What comes after the spend must fit in too; and a spend in a hurry is one whose answer gets lost.
        longest = deadline.last - self.clock.monotonic() - WRAP_UP_SECONDS
        if min(held.ends.left(), 2 * longest) < self.profile.request_timeout:
            self._release(held, deadline, **_unspent(held))
            raise VaultUnreachable("Vault was too slow in taking the claim; nothing was spent", "Try again.")
        started = self.store.now()
        refreshed = held.grant.refreshed
        doubt = held.doubt or Doubt(held.grant.refresh_token.fingerprint(), self.holder, started)
        try:
            answer = self._spend(held, doubt, held.ends.within(min(self.profile.request_timeout, longest)))
        except (GrantRejected, ClientRejected) as error:
            rejection = verdicts.rejection_of(held.grant, self.profile, error.code, self.store.now(), self.holder)
            lost = isinstance(error.__cause__, SpendInDoubt)
            stands = self._release(
                held, deadline, rejection=rejection, doubt=doubt if lost else held.doubt, refreshed=refreshed
            )
            self._tell("rejection", held.grant.refresh_token, "latched" if stands else "overruled", error)
            if stands:
                raise
            log.info("the grant was stored anew meanwhile: trying with it")
            return None
        except (SpendInDoubt, ProtocolError, KeyboardInterrupt, SystemExit) as error:
            pause = verdicts.retry_not_before(error, self.store.now())
            self._release(held, deadline, doubt=doubt, refreshed=refreshed, not_before=pause)
            raise
        except VaultTicketError as error:
            self._release(
                held, deadline, **_unspent(held), not_before=verdicts.retry_not_before(error, self.store.now())
            )
            raise
        return self._settle(held, answer, started, seen, deadline.at_least(WRAP_UP_SECONDS))

    def _spend(self, held: ActiveClaim, doubt: Doubt, budget: Deadline) -> TokenResponse:
        client_id = self.profile.client_id or held.grant.client_id

        def ask() -> TokenResponse:
            try:
                answer = self.endpoint.refresh(held.grant.refresh_token, client_id, budget)
            except VaultTicketError as error:
                self._tell("spend", held.grant.refresh_token, verdicts.outcome_of(error), error)
                raise
            self._tell("spend", held.grant.refresh_token, "answered" if answer.fault is None else "invalid")
            return answer

        return spending.spend(ask, self.profile, held.doubt, doubt, budget, self.clock)

    def _settle(
        self, held: ActiveClaim, answer: TokenResponse, started: float, seen: LeasedVersion, deadline: Deadline
    ) -> Outcome:
        """The answer is read: journal, save, publish, release, in this order."""
        saved: Grant | None = held.grant
        if answer.refresh_token is not None and answer.refresh_token != held.grant.refresh_token:
            saved = self._save(held, answer.refresh_token, deadline)
        in_vault = saved is not None and saved.claim is not None
        if answer.access_token is None:
            if saved is not None and in_vault:
                self._release(held._replace(grant=saved), deadline, refreshed=held.grant.refreshed)
            raise answer.fault or ProtocolError("the token endpoint's answer has no access token")
        ticket = Ticket(answer.access_token, answer.token_type, started, started + answer.expires_in)
        if saved is None:
            log.warning("the grant was stored anew while it was refreshed: what was stored stands")
            return Outcome(ticket, shared=False)
        if in_vault:
            self._publish_and_release(held._replace(grant=saved), ticket, seen, deadline)
        return Outcome(ticket)

    def _save(self, held: ActiveClaim, refresh_token: Secret, deadline: Deadline) -> Grant | None:
        """The grant as saved, None where stored anew; without a claim where that is not ours, or nothing is saved."""
        entry = Entry(
            kind="rotation",
            profile=self.profile.name,
            grant=self.grant_key,
            where=self.profile.grant,
            spent=held.grant.refresh_token.fingerprint(),
            refresh_token=refresh_token,
            client_id=None,
            at=self.store.now(),
            version=held.grant.version,
            claim=held.grant.claim.id if held.grant.claim else "",
        )
        self.journal.write(entry)
        try:
            saved = rotation.save(self.store, entry, held.grant, deadline.within(held.ends.left()))
        except VaultTicketError as error:
            self.journal.keep(entry, error)
            self._tell("save", refresh_token, "kept", error)
            return replace(held.grant, claim=None)
        self._tell("save", refresh_token, "overruled" if saved is None else "saved")
        self.journal.remove(entry)
        if saved is not None and not grant_document.same_claim(saved, held.grant):
            return replace(saved, claim=None)
        return saved

    def _publish_and_release(self, held: ActiveClaim, ticket: Ticket, seen: LeasedVersion, deadline: Deadline) -> None:
        refreshed = held.grant.refreshed
        try:
            leased_path.publish(self.store, self.profile, ticket, seen, deadline)
            fingerprint = ticket.access_token.fingerprint()
            refreshed = Refresh(ticket.issued_at, ticket.expires_at, self.holder, fingerprint)
            self._tell("publish", ticket.access_token, "published")
        except VaultTicketError as error:
            self._tell("publish", ticket.access_token, "failed", error)
            log.warning("the ticket is good, but was not published at %s: %s", self.profile.ticket, error.message)
        self._release(held, deadline, refreshed=refreshed)

    def _release(self, held: ActiveClaim, deadline: Deadline, **notes: object) -> bool:
        """Give the claim back, with what is now known. False where the document holds another refresh token.

        A release that fails is no failure of ours: the claim ends by itself.
        """
        deadline = deadline.at_least(WRAP_UP_SECONDS)
        grant, same = held.grant, True
        try:
            while True:
                freed = grant_document.with_notes(grant, **notes)  # type: ignore[arg-type]
                try:
                    self.store.write(self.profile.grant, freed.document, grant.version, deadline)
                    return same
                except CasMismatch:
                    if deadline.passed():
                        return same
                grant = self._read_grant(deadline)
                same = grant.refresh_token == held.grant.refresh_token
                if not grant_document.same_claim(grant, held.grant):
                    return same  # given back already, or taken over, or written anew
                if not same:  # edited by a person who left our notes in: they are about another token
                    notes = {"refreshed": notes.get("refreshed")}
        except VaultTicketError as error:
            log.info("the claim was not given back (%s); it ends by itself", error.message)
            return same

    def _tell(self, kind: Kind, token: Secret, outcome: str, error: VaultTicketError | None = None) -> None:
        detail = "" if error is None else getattr(error, "code", "") or type(error).__name__
        self.tell(Event(kind, self.profile.name, outcome, self.holder, token.fingerprint(), detail))


def _unspent(held: ActiveClaim) -> dict[str, object]:
    """The notes as they were found: we have learnt nothing."""
    return {"doubt": held.doubt, "rejection": held.grant.rejection, "refreshed": held.grant.refreshed}
