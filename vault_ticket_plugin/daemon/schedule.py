"""When to look after which profile. Pure: it is given the time, and starts nothing.

Times are seconds of a monotonic clock that counts while the machine is suspended too.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable

from vault_ticket_plugin.model import Ticket, Windows

# Profiles that a daemon which has just begun looks at in a second: each costs Vault one request.
START_RATE = 50.0
# A ticket is refreshed somewhere in this first share of its soft window: tickets that were made together, and daemons
# on other hosts, don't stay in step. The rest is for trying again.
SPREAD = 0.5
# Between two tries where a refresh fails, or another holder is at it.
BACKOFF_INITIAL, BACKOFF_MAX = 1.0, 60.0
# While a usable ticket is left there are at least so many tries before it ends.
TRIES_LEFT = 6


class Schedule:
    """Each name is handed out by `due` once, and again only after `succeeded` or `failed` has said how it went."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._at: dict[str, float | None] = {}  # None: handed out
        self._retry: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def names(self) -> frozenset[str]:
        return frozenset(self._at)

    def replace(self, names: Iterable[str], now: float) -> None:
        """From now on these: new ones are spread over the next while, others keep their time."""
        wanted = set(names)
        new = sorted(wanted - self._at.keys())
        self._at = {name: at for name, at in self._at.items() if name in wanted}
        self._retry = {name: bound for name, bound in self._retry.items() if name in wanted}
        for name in new:
            self._at[name] = None
            self._put(name, now + self._chance.uniform(0, len(new) / START_RATE))

    def due(self, now: float) -> str | None:
        """The one that has waited longest, or None."""
        self._drop_old()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, name = heapq.heappop(self._heap)
        self._at[name] = None
        return name

    def next_at(self) -> float | None:
        self._drop_old()
        return self._heap[0][0] if self._heap else None

    def succeeded(self, name: str, now: float, ticket: Ticket, left: float, windows: Windows) -> None:
        """`left`: seconds that the ticket is good for. One that is in its soft window already is tried for again."""
        soft, hard = windows.soft_for(ticket.lifetime), windows.hard_for(ticket.lifetime)
        if left <= soft:
            self.failed(name, now, left)
            return
        self._retry.pop(name, None)
        self._put(name, now + left - soft + self._chance.uniform(0, SPREAD * (soft - hard)))

    def failed(self, name: str, now: float, left: float) -> None:
        """`left`: seconds that there still is a usable ticket, 0 if there is none."""
        bound = self._retry.get(name, BACKOFF_INITIAL)
        self._retry[name] = min(bound * 2, BACKOFF_MAX)
        if left > 0:
            bound = max(BACKOFF_INITIAL, min(bound, left / TRIES_LEFT))
        self._put(name, now + self._chance.uniform(bound / 2, bound))

    def _put(self, name: str, at: float) -> None:
        if name in self._at:  # it may have been replaced while it was looked after
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def _drop_old(self) -> None:
        """Entries of names that are gone or have another time by now."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
