"""The one use case: a ticket for a profile, by the shortest way that is safe.

From this host's cache, else from its daemon if one is named, else from the leased path, else by the refresh
transaction. One process a host is on its way to Vault at a time; the others use what it brings.

Three questions, each with an answer of its own: may I read (what is the best ticket at hand, and is it enough), may I
spend, and is anything wrong. Whatever fails, a ticket that can still be used is handed out, and says what failed (I3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault_ticket_plugin.clock import Clock, Deadline, to_rfc3339
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import (
    Busy,
    ConfigError,
    EndpointUnavailable,
    GrantRejected,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.host.cache import Cache
from vault_ticket_plugin.host.flight import Flight
from vault_ticket_plugin.host.lock import HeldLock, HostLock, Turn
from vault_ticket_plugin.model import Demand, Freshness, LiveTicket, Ticket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.carrier import Carrier, Waiter, goes_on
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.settings.profile import Profile

if TYPE_CHECKING:
    from vault_ticket_plugin.ports import KvStore
    from vault_ticket_plugin.refresh.transaction import Transaction

log = logging.getLogger(__name__)

# Between two looks at the cache while another process of this host is at work.
QUEUE_INITIAL, QUEUE_MAX = 0.005, 0.1
# For what an earlier run could not save, once its caller has its ticket. The lock is held as long.
SETTLE_SECONDS = 3.0
# How long Vault may keep a caller waiting who already has a usable ticket in hand.
SOFT_PATIENCE = 3.0

# The daemon's ticket, of at least so many seconds if it can have one; None if Vault itself is to be asked.
AskDaemon = Callable[[float, Deadline], LiveTicket | None]


@dataclass(frozen=True, slots=True)
class Issuer:
    """One profile's. Safe to use from several threads."""

    profile: Profile
    connect: Callable[[], KvStore]
    """Brings Vault once it is needed."""
    transact: Callable[[], Transaction]
    """Brings what refreshes, likewise."""
    carrier: Callable[[], Carrier]
    """Brings who carries a spend, so that it outlives us."""
    cache: Cache
    lock: HostLock
    journal: Journal
    clock: Clock
    flight: Flight[LiveTicket] = field(default_factory=Flight)
    ask_daemon: AskDaemon | None = None
    """If a daemon is named."""
    daemon_only: bool = False
    """Whether there is no Vault to ask beside it."""

    def ticket(self, demand: Demand, deadline: Deadline) -> LiveTicket:
        """A ticket that meets the demand if one can be had by then, else a usable one, else an error of ours.

        What is wrong although a ticket is there is logged, here and nowhere else.
        """
        live = self.issue(demand, deadline)
        if live.problem is not None and not isinstance(live.problem, Busy):
            ends, problem = to_rfc3339(live.ticket.expires_at), live.problem
            log.warning("this ticket is good until %s, but: %s. %s", ends, problem.message, problem.hint)
        check_min_ttl(live.ticket, demand.min_ttl)
        return live

    def issue(self, demand: Demand, deadline: Deadline) -> LiveTicket:
        """The same in silence, for a caller that looks at the problem. It may live less than is asked for."""
        try:
            return self.flight.share(
                (demand.min_ttl, demand.force), lambda: self._issue(demand, deadline), deadline.left()
            )
        except TimeoutError:
            raise goes_on() from None

    def replay(self, deadline: Deadline) -> None:
        """Bring what an earlier run could not save into Vault, unless another process here is at it."""
        if self.journal.waits() and not self.daemon_only:
            with self.lock.queued() as turn:
                if turn.take():
                    self.transact().settle(deadline, turn.lock)

    def save_what_waits(self, deadline: Deadline) -> None:
        """The same for a caller who wants something else: what fails is logged."""
        try:
            self.replay(deadline)
        except VaultTicketError as error:
            log.warning("a refresh token still waits on this host to be saved: %s. %s", error.message, error.hint)

    def leave_saving_to_another(self) -> None:
        """The same for a caller who has what it wants, and does not wait for it: at most once a second on this host."""
        if not self.journal.waits() or self.daemon_only or not self.cache.look_is_due():
            return
        with self.lock.queued() as turn:
            if not turn.take():
                return

            lock = turn.hand_over()

            def job(_caller: Waiter) -> None:
                self.transact().settle(Deadline.after(SETTLE_SECONDS, self.clock), lock)

            try:
                self.carrier().carry(job, lock, Deadline.after(0.0, self.clock))
            except VaultTicketError as error:
                log.info("a refresh token waits on this host to be saved: %s", error.message)

    # -- the way of one call

    def _issue(self, demand: Demand, deadline: Deadline) -> LiveTicket:
        # What this host remembers may be enough.
        cached = self.cache.ticket()
        demand = demand.but_not(cached.ticket if cached else None)
        if not demand.force and (remembered := self._remembered(cached, demand)):
            return remembered

        # One process of this host goes on to Vault. The others queue, and use what it brings.
        with self.lock.queued() as turn:
            brought = self._queue(turn, demand, deadline)
            return brought or self._ask(turn, demand, deadline)

    def _remembered(self, cached: LiveTicket | None, demand: Demand, waiting: bool = False) -> LiveTicket | None:
        """A ticket that needs no look at Vault. Raises what failed a moment ago if there is none.

        `waiting`: another process of this host is at it; in the soft window nobody waits for that.
        """
        if cached is not None and demand.refuses(cached.ticket):
            return None
        level = self._freshness(cached, demand)
        if cached and level <= Freshness.SOFT and waiting:
            return cached
        settled = cached is not None and cached.unpublished is None and cached.problem is None
        if cached and level == Freshness.FRESH and settled:
            log.info("from this host's cache, good until %s", to_rfc3339(cached.ticket.expires_at))
            return cached

        failure = None if demand.force else self.cache.failure()
        if failure is None:
            return None
        if cached and cached.usable(self.clock.monotonic()):
            return cached._replace(problem=failure)
        if not isinstance(failure, VaultUnreachable | VaultDenied) and self.cache.look_is_due():
            return None  # the leased path may have a usable ticket: another host's spend may have worked
        raise failure

    def _queue(self, turn: Turn, demand: Demand, deadline: Deadline) -> LiveTicket | None:
        """None once it is our turn, and nothing was brought meanwhile."""
        backoff = deadline.backoff(QUEUE_INITIAL, QUEUE_MAX)
        while not turn.take():
            brought = self._remembered(self.cache.ticket(), demand, waiting=True)
            if brought is not None:
                return brought
            if not backoff.sleep():
                raise Busy(
                    "another process of this host is refreshing this ticket, and has not finished in time",
                    "Try again, or give it more time with --timeout.",
                )
        return self._remembered(self.cache.ticket(), demand)

    def _ask(self, turn: Turn, demand: Demand, deadline: Deadline) -> LiveTicket:
        """It is our turn: read where a ticket may be, then spend. What fails is remembered."""
        best = self._if_usable(self.cache.ticket())
        if self.ask_daemon is None or demand.force:
            self.connect()  # what can't even be begun is no failure to remember
        known = None if demand.force else self.cache.failure()  # `_remembered` raised it, unless a look is due
        try:
            # May I read? Each source may bring a better one; the first that is enough ends it.
            heard = self._from_daemon(demand, self._patience(best, deadline))
            best = self._newer(best, heard)
            if heard is not None and best is not None:
                if best is heard:
                    self._keep(heard)
                if self._is_enough(best, demand, Freshness.SOFT):
                    return self._done(best)
                if self.daemon_only:
                    nothing = EndpointUnavailable("the daemon has no fresher one", "Its log says why.")
                    return best._replace(problem=nothing)

            store = self.connect()
            if best is not None and not demand.refuses(best.ticket):
                best = leased_path.publish_late(store, self.profile, best, self._patience(best, deadline))
            seen = leased_path.look(store, self.profile, self._patience(best, deadline))
            best = self._newer(best, self._if_usable(seen.live))
            demand = demand.but_not(best.ticket if best else None)
            if best is not None:
                self._keep(best)
                if self._is_enough(best, demand, Freshness.FRESH):
                    return self._done(best)
        except VaultTicketError as error:
            self._remember(error)
            return self._instead(best, error)

        # May I spend? Not again so soon after it has failed. And is anything wrong? That keeps no usable ticket back.
        try:
            if known is not None:
                raise known
            patient = self._freshness(best, demand) > Freshness.SOFT
            return self._carry_out(seen, demand, deadline, patient, turn.hand_over(), self._patience(best, deadline))
        except VaultTicketError as error:
            return self._instead(best, error)

    def _carry_out(
        self,
        seen: LeasedVersion,
        demand: Demand,
        deadline: Deadline,
        patient: bool,
        lock: HeldLock | None,
        patience: Deadline,
    ) -> LiveTicket:
        """Spend, or get what another holder's spend brings. It goes on without us; we wait for it with `patience`.

        What comes of it is remembered there, before we hear of it.
        """

        def job(caller: Waiter) -> LiveTicket:
            try:
                handed = self.transact().refresh(seen, demand, deadline, patient, caller, lock)
            except VaultTicketError as error:
                self._remember(error)
                raise
            if handed.shared:
                self._keep(handed)
            return self._done(handed)

        return self.carrier().carry(job, lock, patience)

    # -- its parts

    def _from_daemon(self, demand: Demand, deadline: Deadline) -> LiveTicket | None:
        """It would bring us no new ticket by force, nor save a journal of ours."""
        if self.ask_daemon is None or demand.force or (self.journal.waits() and not self.daemon_only):
            return None
        return self.ask_daemon(demand.min_ttl, deadline)

    def _freshness(self, live: LiveTicket | None, demand: Demand) -> Freshness:
        if live is None:
            return Freshness.EXPIRED
        return demand.freshness(live.ticket, self.profile.windows, live.vault_time(self.clock.monotonic()))

    def _is_enough(self, live: LiveTicket, demand: Demand, wanted: Freshness) -> bool:
        """Also if even a new ticket would live less than is asked for: `check_min_ttl` then says so."""
        return self._freshness(live, demand) <= wanted or live.ticket.lifetime < demand.min_ttl

    def _if_usable(self, live: LiveTicket | None) -> LiveTicket | None:
        return live if live is not None and live.usable(self.clock.monotonic()) else None

    def _instead(self, best: LiveTicket | None, error: VaultTicketError) -> LiveTicket:
        """The best that there is, with what is wrong. Raises that if there is none any more."""
        usable = self._if_usable(best)
        if usable is None:
            raise error
        if isinstance(error, GrantRejected):  # the last one: from now on each call looks, and says so
            self._keep(usable._replace(problem=error))
        return usable._replace(problem=error)

    def _remember(self, error: VaultTicketError) -> None:
        if not isinstance(error, Busy):
            self.cache.remember(error)

    def _newer(self, one: LiveTicket | None, other: LiveTicket | None) -> LiveTicket | None:
        """The one that lasts longer; `other` if they last alike."""
        if one is None or other is None:
            return other or one
        return one if one.ticket.expires_at > other.ticket.expires_at else other

    def _patience(self, best: LiveTicket | None, deadline: Deadline) -> Deadline:
        return deadline if best is None else deadline.within(SOFT_PATIENCE)

    def _keep(self, live: LiveTicket) -> None:
        self.cache.put(live, self.profile.windows)

    def _done(self, live: LiveTicket) -> LiveTicket:
        self.cache.clear_failure()
        level = self._freshness(live, Demand()).name.lower()
        log.info("found one that is good until %s (%s)", to_rfc3339(live.ticket.expires_at), level)
        return live


def check_min_ttl(ticket: Ticket, min_ttl: float) -> None:
    """ConfigError if even a new ticket has less than is asked for."""
    if ticket.lifetime < min_ttl:
        raise ConfigError(
            f"tickets of this server live {show_duration(ticket.lifetime)}, "
            f"and at least {show_duration(min_ttl)} are asked for",
            "Ask for less with --min-ttl.",
        )
