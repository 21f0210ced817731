"""Keeps the tickets of many profiles fresh, and in memory. Given a source of tickets, it knows nothing of Vault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline, to_rfc3339
from vault_ticket_plugin.daemon.schedule import Schedule
from vault_ticket_plugin.errors import Busy, ConfigError, VaultTicketError, bug
from vault_ticket_plugin.issuer import check_min_ttl
from vault_ticket_plugin.model import CLOCK_STEP, Demand, Freshness, LiveTicket, Ticket
from vault_ticket_plugin.ports import TicketSource
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# A leader election was seen to take 14 s, a spend takes 8 s at most.
ROUND_SECONDS = 25.0
# The clock that counts suspended time is looked at so often: a thread's wait does not count it.
MAX_WAIT = 5.0

Standing = Literal["new", "good", "failing", "dead"]


class Change(NamedTuple):
    """What has happened to a profile, for the hooks."""

    what: Literal["refreshed", "failing", "dead", "recovered"]
    profile: str
    ticket: Ticket | None
    error: VaultTicketError | None = None
    """If it is about one."""


class State(NamedTuple):
    """How a profile is, and what fails."""

    standing: Standing
    left: float
    """Seconds that its ticket is good for; 0 if there is none."""
    lifetime: float
    error: VaultTicketError | None


@dataclass(slots=True)
class _Entry:
    profile: Profile
    ticket_key: str
    live: LiveTicket | None = None
    standing: Standing = "new"
    error: VaultTicketError | None = None


class Keeper:
    """Safe to use from several threads."""

    def __init__(self, workers: int, clock: Clock, on_change: Callable[[Change], None]) -> None:
        self._workers = workers
        self._clock = clock
        self._on_change = on_change
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._asking = 0
        self._wake = threading.Event()
        self._entries: dict[str, _Entry] = {}
        self._source: TicketSource | None = None
        self._free = workers
        self._beat = clock.monotonic()

    def replace(self, profiles: Mapping[str, tuple[Profile, str]], source: TicketSource) -> None:
        """From now on these profiles, each with a fingerprint of all that decides which ticket it means.

        All are looked at anew, over the next while; tickets that still mean the same are handed out meanwhile.
        """
        with self._lock:
            old, self._entries = self._entries, {}
            for name, (profile, ticket_key) in profiles.items():
                entry = old.get(name)
                if entry is not None and entry.ticket_key == ticket_key:
                    entry.profile = profile
                    self._entries[name] = entry
                else:
                    self._entries[name] = _Entry(profile, ticket_key)
            self._schedule.replace((), self._clock.monotonic())
            self._schedule.replace(self._entries, self._clock.monotonic())
            self._source = source
        self._wake.set()

    def profile(self, name: str) -> Profile | None:
        entry = self._entries.get(name)
        return None if entry is None else entry.profile

    def ready(self, name: str, min_ttl: float = 0.0) -> LiveTicket | None:
        """The ticket in memory, where it is good enough to be handed out without asking anybody."""
        entry = self._entries.get(name)
        live = entry.live if entry is not None else None
        if entry is None or live is None:
            return None
        left = live.left(self._clock.monotonic())
        least = max(entry.profile.windows.hard_for(live.ticket.lifetime), min_ttl, CLOCK_STEP)
        return live if left > least else None

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        """`TicketSource` (ports.py): from memory, else by asking."""
        ready = self.ready(profile, demand.min_ttl)
        if ready is not None:
            return ready
        try:
            live = self._ask(profile, demand, deadline)
        except VaultTicketError:
            usable = self.usable(profile)
            if usable is None:
                raise
            return usable
        check_min_ttl(live.ticket, demand.min_ttl)
        return live

    def usable(self, name: str) -> LiveTicket | None:
        entry = self._entries.get(name)
        live = entry.live if entry is not None else None
        return live if live is not None and live.left(self._clock.monotonic()) > CLOCK_STEP else None

    def states(self) -> dict[str, State]:
        with self._lock:
            entries = dict(self._entries)
        now = self._clock.monotonic()
        return {
            name: State(
                entry.standing,
                max(0.0, entry.live.left(now)) if entry.live else 0.0,
                entry.live.ticket.lifetime if entry.live else 0.0,
                entry.error,
            )
            for name, entry in entries.items()
        }

    def alive(self) -> bool:
        """Whether the scheduler still turns."""
        return self._clock.monotonic() - self._beat < 4 * MAX_WAIT

    def wait_until_idle(self, seconds: float) -> bool:
        """Whether nothing is under way any more."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._asking, seconds)

    def stop(self, ended: threading.Event) -> None:
        ended.set()
        self._wake.set()

    def run(self, ended: threading.Event) -> None:
        """Look after all profiles until `ended` is set; then finish what is under way."""
        with ThreadPoolExecutor(self._workers, "keeper") as pool:
            while not ended.is_set():
                self._wake.clear()
                self._beat = now = self._clock.monotonic()
                with self._lock:
                    while self._free and (name := self._schedule.due(now)) is not None:
                        self._free -= 1
                        pool.submit(self._round, name)
                    at = self._schedule.next_at() if self._free else None
                self._wake.wait(MAX_WAIT if at is None else min(MAX_WAIT, max(0.0, at - now)))

    def once(self) -> dict[str, VaultTicketError]:
        """Look after each profile once, and tell what failed."""
        failed: dict[str, VaultTicketError] = {}

        def look(name: str) -> None:
            error = self.look_after(name)
            if error is not None:
                failed[name] = error

        with ThreadPoolExecutor(self._workers, "keeper") as pool:
            for _ in pool.map(look, sorted(self._entries)):
                pass
        return failed

    def _round(self, name: str) -> None:
        try:
            self.look_after(name)
        finally:
            with self._lock:
                self._free += 1
                entry = self._entries.get(name)
                now = self._clock.monotonic()
                live = entry.live if entry is not None else None
                left = live.left(now) if live is not None else 0.0
                if entry is not None and live is not None and entry.error is None:
                    self._schedule.succeeded(name, now, live.ticket, left, entry.profile.windows)
                else:
                    self._schedule.failed(name, now, left)
            self._wake.set()

    def look_after(self, name: str) -> VaultTicketError | None:
        """See to it that the profile's ticket is fresh; what stands in the way, if anything does."""
        deadline = Deadline.after(ROUND_SECONDS, self._clock)
        try:
            return self._ask(name, Demand(), deadline).problem
        except VaultTicketError as error:
            return error

    def _ask(self, name: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        """Ask, and remember how it went."""
        entry, source = self._entries.get(name), self._source
        if entry is None or source is None:
            raise ConfigError(f"there is no profile {name!r} here", "Name one that the daemon's configuration has.")

        with self._lock:
            self._asking += 1
        try:
            live = source.ticket(name, demand, deadline)
        except VaultTicketError as error:
            self._failed(entry, error)
            raise
        except Exception as error:  # noqa: BLE001 - the schedule must go on
            ours = bug(error)
            self._failed(entry, ours)
            raise ours from None
        finally:
            with self._idle:
                self._asking -= 1
                self._idle.notify_all()

        self._got(entry, live)
        return live

    def _got(self, entry: _Entry, live: LiveTicket) -> None:
        name, ticket, problem = entry.profile.name, live.ticket, live.problem
        with self._lock:
            before = entry.live
            # Two that were asked at once may come back in the other order. Ends are known to a step of Vault's clock.
            newer = before is None or ticket.expires_at > before.ticket.expires_at - CLOCK_STEP
            changed = newer and (before is None or ticket.access_token != before.ticket.access_token)
            if newer:
                entry.live = live

        if changed:
            log.debug("%s: a ticket until %s", name, to_rfc3339(ticket.expires_at))
            self._on_change(Change("refreshed", name, ticket))

        if problem is not None and not isinstance(problem, Busy):
            self._failed(entry, problem)
            return
        level = entry.profile.windows.freshness(ticket, live.vault_time(self._clock.monotonic()))
        if problem is None and level == Freshness.FRESH:
            self._stands(entry, "good", None)

    def _failed(self, entry: _Entry, error: VaultTicketError) -> None:
        self._stands(entry, "dead" if error.needs_person else "failing", error)

    def _stands(self, entry: _Entry, standing: Standing, error: VaultTicketError | None) -> None:
        with self._lock:
            before, entry.standing, entry.error = entry.standing, standing, error
            ticket = entry.live.ticket if entry.live is not None else None
        if standing == before or (standing == "good" and before == "new"):
            return
        if error is not None:
            log.warning("%s: %s. %s", entry.profile.name, error.message, error.hint)
            self._on_change(Change("dead" if standing == "dead" else "failing", entry.profile.name, ticket, error))
        else:
            log.info("%s: works again", entry.profile.name)
            self._on_change(Change("recovered", entry.profile.name, ticket))
