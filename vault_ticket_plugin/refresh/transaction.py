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

from vault_ticket_plugin.clock import Backoff, Clock, Deadline
from vault_ticket_plugin.errors import (
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
from vault_ticket_plugin.refresh import grant_document, leased_path, rotation, watch
from vault_ticket_plugin.refresh.carrier import Held, Waiter
from vault_ticket_plugin.refresh.claim import ActiveClaim, Attempt, Claims, held
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.refresh.notes import rejection_of, retry_not_before, somebody_may_have_finished
from vault_ticket_plugin.refresh.replay import Replay
from vault_ticket_plugin.refresh.spend import SpendFailure, spend
from vault_ticket_plugin.refresh.watch import Watcher, Watches
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress, Profile

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
    address: GrantAddress
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

            # What this token was rotated to may have come into the journal since: it is saved first.
            if self.journal.has_successor(claimed.grant.refresh_token):
                self.claims.release(claimed, claimed.grant.notes.released())
                continue

            # Somebody may have finished between our look and our claim.
            if somebody_may_have_finished(claimed.found, seen):
                seen = self._look(claimed.spend_by)
                published = self._enough(seen, demand, patient)
                if published is not None:
                    self.claims.release(claimed, claimed.grant.notes.released())
                    return published

            # (4) Spend. If the token is dead and a person has stored another meanwhile, begin anew with that.
            spent = self._spend(claimed, seen, lock)
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
        while True:
            self.settle(attempt.deadline, attempt.lock, attempt.late)
            taken = self.claims.take(attempt)
            if isinstance(taken, ActiveClaim):
                return taken, seen
            self._wait(backoff, taken, attempt.patient)
            seen = self._look(attempt.deadline)
            published = self._enough(seen, attempt.demand, attempt.patient)
            if published is not None:
                return published

    def settle(self, deadline: Deadline, lock: Held | None = None, late: float = watch.MAX_JITTER) -> None:
        """Bring into the grant what an earlier run on this host could not save there (refresh/replay.py)."""
        watcher = Watcher(self.watches, self.clock, lock, late)
        Replay(self.profile, self.store, self.journal, self.address, watcher).settle(deadline)

    def _wait(self, backoff: Backoff, taken: Claim | VaultUnreachable | None, patient: bool) -> None:
        if patient and backoff.sleep():
            return
        if isinstance(taken, VaultUnreachable):
            raise taken
        raise held(taken)

    # -- step (4): the request

    def _spend(self, claimed: ActiveClaim, seen: LeasedVersion, lock: Held | None) -> SpendAnswer | None:
        """The token endpoint's answer. Whatever else comes of it, the document tells how it ended.

        None if the token that we tried is dead, but a person has stored another.
        """
        grant, notes = claimed.grant, claimed.grant.notes
        if claimed.spend_by.passed():  # an answer that comes too late to be saved would be lost
            self.claims.release(claimed, notes.released())
            raise VaultUnreachable("Vault was too slow in taking the claim; nothing was spent", "Try again.")

        started = self.store.now().earliest
        ours = notes.doubt or Doubt(grant.refresh_token.fingerprint(), self.holder, started)
        self.claims.announce(claimed, lock)
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
                if stands and isinstance(error, GrantRejected):
                    leased_path.mark_dead(self.store, self.profile, seen, rejection.at, claimed.saving(self.clock))
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

        entry = rotation.entry_of(grant, refresh_token, self.profile, self.address, self.store.now().earliest)
        self.journal.write(entry)
        try:
            saved = rotation.save(self.store, self.journal, entry, grant, claimed.saving(self.clock))
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
            live = self._publish(self._live(ticket), seen, claimed.saving(self.clock), still_ours)
            if live.shared and live.unpublished is None:
                refreshed = Refresh(ticket.issued_at, ticket.expires_at, self.holder, ticket.access_token.fingerprint())

        if saved is not None and still_ours:
            self.claims.release(claimed._replace(grant=saved), saved.notes.settled(refreshed))
        if response.access_token is None:
            raise response.fault or ProtocolError("the token endpoint's answer has no access token")
        return live

    def _publish(self, live: LiveTicket, seen: LeasedVersion, deadline: Deadline, still_ours: bool) -> LiveTicket:
        """The ticket and whether it is on the leased path now: a later call publishes what could not be."""
        ticket, later = live.ticket, live._replace(unpublished=seen.version)
        if not still_ours:
            return later
        try:
            stands = leased_path.publish(self.store, self.profile, ticket, seen, deadline)
        except VaultTicketError as error:
            self._emit("publish", ticket.access_token, "failed", error)
            return later._replace(problem=leased_path.not_published(self.profile, error))
        self._emit("publish", ticket.access_token, "published" if stands else "overruled")
        if not stands:
            log.warning("the ticket at %s was withdrawn meanwhile: this one is not published", self.profile.ticket)
        return live._replace(shared=stands)

    # -- what several steps use

    def _look(self, deadline: Deadline) -> LeasedVersion:
        return leased_path.look(self.store, self.profile, deadline)

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
