"""The refresh transaction: claim, spend, save, publish, release. One spend for the whole fleet.

Its steps, numbered as in docs/protocol.md, which has the reasons, and what may go wrong at each and how it heals:

    (1) Find: what is on the leased path. The issuer's part; it hands over what it saw.
    (2) Read the grant.
    (3) Claim it by check-and-set, or get what another holder brings.
    (4) Spend: one request to the token endpoint.
    (5) Journal and save what the refresh token was rotated to.
    (6) Publish the ticket, then release the claim.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from vault_ticket_plugin.clock import Backoff, Clock, Deadline, to_rfc3339
from vault_ticket_plugin.errors import (
    Busy,
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.events import EventSink, Kind, discard, token_event
from vault_ticket_plugin.model import Claim, Demand, Doubt, Freshness, Grant, LiveTicket, Refresh, Ticket, TokenResponse
from vault_ticket_plugin.ports import KvStore, TokenEndpoint
from vault_ticket_plugin.refresh import grant_document, leased_path, rotation
from vault_ticket_plugin.refresh.carrier import Held, Request, Waiter
from vault_ticket_plugin.refresh.claim import ActiveClaim, Attempt, Claims
from vault_ticket_plugin.refresh.journal import Entry, Journal
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.refresh.notes import rejection_of, retry_not_before, somebody_may_have_finished
from vault_ticket_plugin.refresh.spend import SpendFailure, spend
from vault_ticket_plugin.refresh.watch import Watches
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Between two looks while another holder has the claim: soon enough not to be felt, rare enough for Vault to bear
# a fleet of waiting hosts.
LOOK_INITIAL, LOOK_MAX = 0.1, 1.0


class SpendAnswer(NamedTuple):
    """An answer of the token endpoint."""

    response: TokenResponse
    started: float
    """Just before it was asked for: the ticket's lifetime counts from then."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One profile's. Safe to use from several threads, one call at a time."""

    profile: Profile
    store: KvStore
    endpoint: TokenEndpoint
    journal: Journal
    watches: Watches
    holder: str
    """Who we are, as others read it in a claim."""
    grant_key: str
    """What a journal's entry belongs to."""
    clock: Clock
    emit: EventSink = discard

    @property
    def claims(self) -> Claims:
        return Claims(self.profile, self.store, self.watches, self.holder, self.clock, self.emit)

    def refresh(
        self,
        seen: LeasedVersion,
        demand: Demand,
        deadline: Deadline,
        patient: bool,
        caller: Waiter,
        lock: Held | None = None,
    ) -> LiveTicket:
        """Spend the grant, or get what somebody else's spend brought.

        `seen`: the leased path as last looked at (1). Without patience (a usable ticket is at hand) Busy is raised at
        once if another holder has the claim; with it, when the deadline passes. From the claim on nobody's patience
        counts: the claim's own time bounds what is done under it. `lock`: this host's, which is ours.
        """
        attempt = Attempt.begin(demand, deadline, patient, caller, lock)
        while True:
            # (2) Read the grant, and (3) claim it (claim.py). Another holder may bring a ticket meanwhile.
            brought = self._claim(seen, attempt)
            if isinstance(brought, LiveTicket):
                return brought
            claimed, seen = brought

            # Somebody may have finished between our look and our claim.
            if somebody_may_have_finished(claimed.found, seen):
                seen = self._look(claimed.spend_by)
                published = self._enough(seen, demand, patient)
                if published is not None:
                    self.claims.release(claimed, claimed.grant.notes.released())
                    return published

            # (4) Spend. If the token is dead and a person has stored another meanwhile, begin anew with that.
            spent = self._spend(claimed, lock)
            if spent is None:
                log.info("the grant was stored anew meanwhile: trying with it")
                continue

            # (5) Save what the refresh token was rotated to, by way of the journal.
            saved = self._save(claimed, spent.response.refresh_token)

            # (6) Publish the ticket, then release the claim.
            return self._publish_and_release(claimed, saved, spent, seen)

    # -- steps (2) and (3): the claim

    def _claim(self, seen: LeasedVersion, attempt: Attempt) -> tuple[ActiveClaim, LeasedVersion] | LiveTicket:
        """Our claim and the leased path as last seen, or a ticket that another holder has published meanwhile."""
        backoff = attempt.deadline.backoff(LOOK_INITIAL, LOOK_MAX)
        while not isinstance(taken := self.claims.take(attempt), ActiveClaim):
            self._wait(backoff, taken, attempt.patient)
            seen = self._look(attempt.deadline)
            published = self._enough(seen, attempt.demand, attempt.patient)
            if published is not None:
                return published
        return taken, seen

    def _wait(self, backoff: Backoff, taken: Claim | VaultUnreachable | None, patient: bool) -> None:
        if patient and backoff.sleep():
            return
        if isinstance(taken, VaultUnreachable):
            raise taken
        who = taken.holder if taken else "another holder"
        since = f" since {to_rfc3339(taken.at)}" if taken and taken.at is not None else ""
        raise Busy(
            f"{who} has been refreshing this ticket{since} and has not finished in time",
            "Try again: a holder that died is waited for no longer than the claim's time.",
        )

    # -- step (4): the request

    def _spend(self, claimed: ActiveClaim, lock: Held | None) -> SpendAnswer | None:
        """The token endpoint's answer. Whatever else comes of it, the document tells how it ended.

        None if the token that we tried is dead, but a person has stored another.
        """
        grant, notes = claimed.grant, claimed.grant.notes
        if claimed.spend_by.passed():  # an answer that comes too late to be saved would be lost
            self.claims.release(claimed, notes.released())
            raise VaultUnreachable("Vault was too slow in taking the claim; nothing was spent", "Try again.")

        started = self.store.now().earliest
        ours = notes.doubt or Doubt(grant.refresh_token.fingerprint(), self.holder, started)
        if lock is not None:  # whoever has it after us then knows what may be under way, and until when
            lock.note_request(Request(grant.refresh_token.fingerprint(), claimed.ends.at))
        budget = claimed.ends.within(self.profile.request_timeout)
        ask = partial(self._ask, grant, budget, claimed.ends)
        match spend(ask, self.profile, notes.doubt, ours, budget, self.clock):
            case TokenResponse() as response:
                return SpendAnswer(response, started)

            case SpendFailure((GrantRejected() | ClientRejected()) as error, lost):
                rejection = rejection_of(grant, self.profile, error.code, self.store.now().earliest, self.holder)
                after = notes.after_rejection(rejection, ours if lost else notes.doubt)
                stands = self.claims.release(claimed, after)
                self._emit("rejection", grant.refresh_token, "latched" if stands else "overruled", error)
                if stands:
                    raise error
                return None

            case SpendFailure((SpendInDoubt() | ProtocolError()) as error):
                pause = retry_not_before(error, self.store.now().latest)
                self.claims.release(claimed, notes.in_doubt(ours, pause))
                raise error

            case SpendFailure(error):
                pause = retry_not_before(error, self.store.now().latest)
                self.claims.release(claimed, notes.after_pause(pause))
                raise error

    def _ask(self, grant: Grant, send_by: Deadline, deadline: Deadline) -> TokenResponse:
        """One request, sent in time or not at all; its answer may take until the claim's end."""
        client = grant_document.needed_client(self.profile, grant)
        try:
            response = self.endpoint.refresh(grant.refresh_token, client, send_by, deadline)
        except VaultTicketError as error:
            self._emit("spend", grant.refresh_token, _outcome_of(error), error)
            raise
        self._emit("spend", grant.refresh_token, "answered" if response.fault is None else "invalid")
        return response

    # -- steps (5) and (6): what comes of its answer

    def _save(self, claimed: ActiveClaim, refresh_token: Secret | None) -> Grant | None:
        """The grant as it now stands, None if a person has stored it anew.

        Without a claim if the claim is no longer ours, or the document could not be written.
        """
        grant = claimed.grant
        if refresh_token is None or refresh_token == grant.refresh_token:
            return grant  # a server that does not rotate

        entry = Entry(
            kind="rotation",
            profile=self.profile.name,
            grant=self.grant_key,
            where=self.profile.grant,
            spent=grant.refresh_token.fingerprint(),
            refresh_token=refresh_token,
            client=None,
            at=self.store.now().earliest,
            version=grant.version,
            claim=grant.notes.claim.id if grant.notes.claim else "",
        )
        self.journal.write(entry)
        try:
            saved = rotation.save(self.store, entry, grant, claimed.saving(self.clock))
        except VaultTicketError as error:
            self.journal.keep(entry, error)
            self._emit("save", refresh_token, "kept", error)
            return grant._replace(notes=grant.notes._replace(claim=None))
        self._emit("save", refresh_token, "overruled" if saved is None else "saved")
        self.journal.remove(entry)

        if saved is not None and not grant_document.same_claim(saved, grant):
            return saved._replace(notes=saved.notes._replace(claim=None))
        return saved

    def _publish_and_release(
        self, claimed: ActiveClaim, saved: Grant | None, spent: SpendAnswer, seen: LeasedVersion
    ) -> LiveTicket:
        """What is left of an answer without a usable access token, or to a grant stored anew, is done here too."""
        response, refreshed = spent.response, claimed.grant.notes.refreshed
        still_ours = saved is not None and saved.notes.claim is not None

        if response.access_token is not None:
            ends = spent.started + response.expires_in
            ticket = Ticket(response.access_token, response.token_type, spent.started, ends)
            if saved is None:
                log.warning("the grant was stored anew while it was refreshed: what was stored stands")
                return self._live(ticket)._replace(shared=False)
            if still_ours:
                refreshed = self._publish(ticket, seen, claimed.saving(self.clock)) or refreshed

        if saved is not None and still_ours:
            self.claims.release(claimed._replace(grant=saved), saved.notes.settled(refreshed))
        if response.access_token is None:
            raise response.fault or ProtocolError("the token endpoint's answer has no access token")
        return self._live(ticket)

    def _publish(self, ticket: Ticket, seen: LeasedVersion, deadline: Deadline) -> Refresh | None:
        """What to note of it; None if the ticket could not be published."""
        try:
            leased_path.publish(self.store, self.profile, ticket, seen, deadline)
        except VaultTicketError as error:
            self._emit("publish", ticket.access_token, "failed", error)
            log.warning("the ticket is good, but was not published at %s: %s", self.profile.ticket, error.message)
            return None
        self._emit("publish", ticket.access_token, "published")
        return Refresh(ticket.issued_at, ticket.expires_at, self.holder, ticket.access_token.fingerprint())

    # -- what several steps use

    def _look(self, deadline: Deadline) -> LeasedVersion:
        return leased_path.look(self.store, self.profile.ticket, deadline)

    def _enough(self, seen: LeasedVersion, demand: Demand, patient: bool) -> LiveTicket | None:
        """What is published, if that spares us the spend."""
        wanted = Freshness.SOFT if patient else Freshness.FRESH
        windows, now = self.profile.windows, self.store.now().latest
        if seen.live is None or demand.freshness(seen.live.ticket, windows, now) > wanted:
            return None
        return seen.live

    def _live(self, ticket: Ticket) -> LiveTicket:
        return LiveTicket.at(ticket, self.store.now().latest, self.clock.monotonic())

    def _emit(self, kind: Kind, token: Secret, outcome: str, error: VaultTicketError | None = None) -> None:
        self.emit(token_event(kind, self.profile.name, outcome, self.holder, token, error))


def _outcome_of(error: VaultTicketError) -> str:
    """How a spend ended that brought no answer to use, as an Event tells it."""
    if isinstance(error, GrantRejected | ClientRejected):
        return "rejected"
    if isinstance(error, SpendInDoubt):
        return "in-doubt"
    return "unavailable" if isinstance(error, EndpointUnavailable) else "invalid"
