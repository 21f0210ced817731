"""The one use case: a ticket for a profile, by the shortest way that is safe.

From this host's cache, else from its daemon where one is named, else from the leased path, else by the refresh
transaction. One process a host is on its way to Vault at a time; the others use what it brings. Whatever fails, a
ticket that can still be used is handed out (I3).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline, to_rfc3339
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import (
    Busy,
    ConfigError,
    EndpointUnavailable,
    StoredDataInvalid,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.host.cache import Cache, Cached, Failure
from vault_ticket_plugin.host.lock import Flight, HostLock
from vault_ticket_plugin.model import REMEMBERED, Demand, Freshness, Heard, Ticket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.settings.profile import Profile

if TYPE_CHECKING:
    from vault_ticket_plugin.ports import KvStore
    from vault_ticket_plugin.refresh.transaction import Transaction

log = logging.getLogger(__name__)

# Between two looks at the cache while another process of this host is at work.
QUEUE_INITIAL, QUEUE_MAX = 0.005, 0.1
# How long Vault may keep a caller waiting who already has a usable ticket in hand.
SOFT_PATIENCE = 3.0


class Issued(NamedTuple):
    """A ticket that can be used, and why there is no fresher one where one was wanted."""

    ticket: Ticket
    failed: VaultTicketError | None = None


# The daemon's ticket, of at least so many seconds where it can have one; None where Vault itself is to be asked.
Ask = Callable[[float, Deadline], Heard | None]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Safe to use from several threads. `connect` brings Vault once it is needed, `transact` what refreshes.

    `grant_key`: whose journal to look for. `ask`: the daemon, where one is named. `heard`: the last ticket from
    there, and the moment at which it ends.
    """

    profile: Profile
    connect: Callable[[], KvStore]
    transact: Callable[[], Transaction]
    cache: Cache
    lock: HostLock
    journal: Journal
    grant_key: str
    clock: Clock
    flight: Flight[Issued] = field(default_factory=Flight)
    ask: Ask | None = None
    heard: list[tuple[Ticket, float]] = field(default_factory=list)

    def ticket(self, demand: Demand, deadline: Deadline) -> Ticket:
        """A ticket that meets the demand where one can be had by then, else a usable one, else an error of ours."""
        issued = self.issued(demand, deadline)
        ticket = issued.ticket
        if issued.failed is not None and not isinstance(issued.failed, Busy):
            self._say_still_usable(ticket, issued.failed)
        check_min_ttl(ticket, demand.min_ttl)
        return ticket

    def issued(self, demand: Demand, deadline: Deadline) -> Issued:
        """The same in silence, for a caller that looks at what failed. It may live less than is asked for."""
        return self.flight.share((demand.min_ttl, demand.force), lambda: self._issue(demand, deadline))

    def left(self, ticket: Ticket) -> float:
        """Seconds that a ticket of ours is good for, by Vault's clock."""
        cached = self.cache.ticket()
        if cached is not None and cached.ticket.access_token == ticket.access_token:
            return ticket.left(cached.now)
        for heard, ends in self.heard:
            if heard.access_token == ticket.access_token:
                return ends - self.clock.monotonic()
        return ticket.left(self.connect().now())

    def replay(self, deadline: Deadline) -> None:
        """Bring what an earlier run could not save into Vault, unless another process here is at it."""
        if self._journal_waits():
            with self.lock.queued() as try_lock:
                if try_lock():
                    self._replay(self.connect(), deadline)

    def _issue(self, demand: Demand, deadline: Deadline) -> Issued:
        cached = self.cache.ticket()
        if cached and demand.force:
            demand = demand._replace(unwanted=cached.ticket.access_token)
        if not demand.force:
            ready = self._from_cache(cached, demand)
            if ready:
                return ready
        with self.lock.queued() as try_lock:
            pauses = deadline.pauses(QUEUE_INITIAL, QUEUE_MAX)
            while not try_lock():
                cached = self.cache.ticket()
                ready = self._from_cache(cached, demand, waiting=True)
                if ready:
                    return ready
                if next(pauses, None) is None:
                    raise Busy(
                        "another process of this host is refreshing this ticket, and has not finished in time",
                        "Try again, or give it more time with --timeout.",
                    )
            cached = self.cache.ticket()
            ready = self._from_cache(cached, demand)
            return ready or self._from_vault(cached, demand, deadline)

    def _from_cache(self, cached: Cached | None, demand: Demand, waiting: bool = False) -> Issued | None:
        """A ticket that needs no look at Vault. Raises what failed a moment ago where there is none.

        `waiting`: another process of this host is at it; in the soft window nobody waits for that.
        """
        if demand.unwanted is not None and cached and cached.ticket.access_token == demand.unwanted:
            return None
        level = Freshness.EXPIRED
        if cached:
            level = self.profile.windows.freshness(cached.ticket, cached.now, demand.min_ttl)
        if cached and level <= Freshness.SOFT and waiting:
            return Issued(cached.ticket)
        if cached and level == Freshness.FRESH and not self._journal_waits():
            log.info("from this host's cache, good until %s", to_rfc3339(cached.ticket.expires_at))
            return Issued(cached.ticket)
        failure = None if demand.force else self.cache.failure()
        if failure is None:
            return None
        if cached and cached.ticket.usable(cached.now):
            return Issued(cached.ticket, failure.error)
        nothing_kept = self.cache.folder is None or not self.cache.tickets
        if nothing_kept and not isinstance(failure.error, VaultUnreachable | VaultDenied):
            return None  # the leased path may have a usable ticket
        raise _remembered(failure)

    def _from_vault(self, cached: Cached | None, demand: Demand, deadline: Deadline) -> Issued:
        """We are the one of this host. What goes wrong is remembered, and a usable ticket handed out all the same."""
        usable = cached.ticket if cached and cached.ticket.usable(cached.now) else None
        began = self.clock.monotonic()
        if self.ask is None or demand.force:
            self.connect()  # what can't even be begun is no failure to remember
        failure = None if demand.force else self.cache.failure()  # found by _from_cache, unless nothing is cached
        known = None if failure is None else _remembered(failure)
        try:
            heard = self._hear(demand, deadline if usable is None else deadline.within(SOFT_PATIENCE))
            if heard is not None:
                if usable is None or heard.ticket.expires_at >= usable.expires_at:
                    cached, usable, began = Cached(heard.ticket, heard.now), heard.ticket, self.clock.monotonic()
                    self._keep(usable, heard.now)
                level = self.profile.windows.freshness(usable, heard.now, demand.min_ttl)
                if level <= Freshness.SOFT or usable.lifetime < demand.min_ttl:
                    self.cache.clear_failure()
                    return Issued(usable)
                if heard.alone:
                    return Issued(usable, EndpointUnavailable("the daemon has no fresher one", "Its log says why."))
            store = self.connect()
            self._replay(store, deadline if usable is None else deadline.within(SOFT_PATIENCE))
            return Issued(self._look_and_refresh(store, usable, demand, deadline, known))
        except _Fallback as fallback:
            ticket, error = fallback.ticket, fallback.error
        except VaultTicketError as failed:
            if usable is None or cached is None or not usable.usable(cached.now + self.clock.monotonic() - began):
                self._remember(failed, known)
                raise
            ticket, error = usable, failed
        self._remember(error, known)
        return Issued(ticket, error)

    def _hear(self, demand: Demand, deadline: Deadline) -> Heard | None:
        """What the daemon hands out. It would bring us no new ticket by force, nor save a journal of ours."""
        if self.ask is None or demand.force or self._journal_waits():
            return None
        heard = self.ask(demand.min_ttl, deadline)
        if heard is not None:
            self.heard[:] = [(heard.ticket, heard.ticket.left(heard.now) + self.clock.monotonic())]
        return heard

    def _remember(self, error: VaultTicketError, known: VaultTicketError | None) -> None:
        if not isinstance(error, Busy) and error is not known:
            self.cache.remember(error)

    def _look_and_refresh(
        self,
        store: KvStore,
        usable: Ticket | None,
        demand: Demand,
        deadline: Deadline,
        known: VaultTicketError | None,
    ) -> Ticket:
        """`known`: what a refresh failed by a moment ago; there is none again so soon."""
        now = store.now
        seen = leased_path.look(
            store, self.profile.ticket, deadline if usable is None else deadline.within(SOFT_PATIENCE)
        )
        found = seen.ticket if seen.ticket is not None and seen.ticket.usable(now()) else None
        if found is None or (usable is not None and usable.expires_at > found.expires_at):
            found = usable
        level = Freshness.EXPIRED
        if found is not None:
            if demand.force and demand.unwanted is None:
                demand = demand._replace(unwanted=found.access_token)
            level = demand.freshness(found, self.profile.windows, now())
            log.info("found one that is good until %s (%s)", to_rfc3339(found.expires_at), level.name.lower())
            self._keep(found, now())
            if level == Freshness.FRESH or found.lifetime < demand.min_ttl:
                self.cache.clear_failure()
                return found
        try:
            if known is not None:
                raise known
            outcome = self.transact().refresh(seen, demand, deadline, patient=level > Freshness.SOFT)
        except VaultTicketError as error:
            if found is None or not found.usable(now()):
                raise
            raise _Fallback(found, error) from None
        if outcome.shared:
            self._keep(outcome.ticket, now())
        self.cache.clear_failure()
        return outcome.ticket

    def _keep(self, ticket: Ticket, now: float) -> None:
        # With a journal waiting, the next call shall look again, and bring it into Vault.
        self.cache.put(ticket, now, self.profile.windows, fresh=not self._journal_waits())

    def _journal_waits(self) -> bool:
        try:
            return bool(self.journal.waiting(self.profile.name, self.grant_key))
        except StoredDataInvalid:
            return True  # replaying it will say so

    def _replay(self, store: KvStore, deadline: Deadline) -> None:
        """Nothing is spent on this host before what an earlier run could not save is in Vault."""
        for entry in self.journal.waiting(self.profile.name, self.grant_key):
            from vault_ticket_plugin.refresh import rotation

            if rotation.replay(store, entry, deadline):
                log.warning("a rotated refresh token, kept on this host until now, is saved in Vault")
            else:
                log.warning("a rotated refresh token is dropped: the grant was stored anew since")
            self.journal.remove(entry)

    def _say_still_usable(self, ticket: Ticket, error: VaultTicketError) -> None:
        ends = to_rfc3339(ticket.expires_at)
        log.warning("this ticket is good until %s, but: %s. %s", ends, error.message, error.hint)


def _remembered(failure: Failure) -> VaultTicketError:
    again = f"{REMEMBERED}{math.ceil(failure.seconds)} s more; --force asks now.)"
    failure.error.hint = f"{failure.error.hint} {again}".lstrip()  # it was read from a file just now: it is ours
    return failure.error


def check_min_ttl(ticket: Ticket, min_ttl: float) -> None:
    """ConfigError where even a new ticket has less than is asked for."""
    if ticket.lifetime < min_ttl:
        raise ConfigError(
            f"tickets of this server live {show_duration(ticket.lifetime)}, "
            f"and at least {show_duration(min_ttl)} are asked for",
            "Ask for less with --min-ttl.",
        )


class _Fallback(Exception):
    """A refresh failed while a usable ticket is at hand."""

    def __init__(self, ticket: Ticket, error: VaultTicketError) -> None:
        super().__init__()
        self.ticket = ticket
        self.error = error
