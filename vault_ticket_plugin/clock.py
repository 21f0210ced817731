"""Time: one injected clock, deadlines on it, and RFC 3339."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from vault_ticket_plugin import warm


class Clock:
    """This host's clocks, and sleeping by them; tests put a simulated one in its place."""

    def wall(self) -> float:
        """Seconds since the epoch, by this host."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of this boot that count while the machine is suspended too, where the system can tell."""
        return warm.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


HOST_CLOCK = Clock()


class Deadline(NamedTuple):
    """A moment by which something must be over. `last`: what `at_least` never goes beyond."""

    at: float
    clock: Clock = HOST_CLOCK
    last: float = math.inf

    @classmethod
    def after(cls, seconds: float, clock: Clock = HOST_CLOCK, last: float = math.inf) -> Deadline:
        now = clock.monotonic()
        return cls(now + seconds, clock, now + last)

    def left(self) -> float:
        """Seconds until then; 0.0 when it has passed."""
        return max(0.0, self.at - self.clock.monotonic())

    def passed(self) -> bool:
        return self.left() <= 0.0

    def within(self, seconds: float) -> Deadline:
        """The sooner of this deadline and `seconds` from now."""
        return Deadline(min(self.at, self.clock.monotonic() + seconds), self.clock, self.last)

    def at_least(self, seconds: float) -> Deadline:
        """The later of this deadline and `seconds` from now, but not later than `last`."""
        at = min(self.last, self.clock.monotonic() + seconds)
        return Deadline(max(self.at, at), self.clock, self.last)

    def pauses(self, first: float, longest: float) -> Iterator[float]:
        """Sleep between tries: full jitter below a bound that doubles from `first` to `longest` seconds.

        Each turn yields the seconds slept; the turns end when the next pause would outlast the deadline.
        """
        bound = first
        while True:
            pause = random.uniform(bound / 2, bound)  # noqa: S311 - spreads load, guards nothing
            if pause >= self.left():
                return
            self.clock.sleep(pause)
            yield pause
            bound = min(longest, bound * 2)


def to_rfc3339(seconds: float) -> str:
    """Seconds since the epoch as `2026-11-23T20:48:04Z` (whole seconds, rounded down)."""
    return datetime.fromtimestamp(int(seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch. ValueError where `text` is no RFC 3339 time with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return moment.timestamp()
