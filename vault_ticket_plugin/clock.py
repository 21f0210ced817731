"""Time: one injected clock, deadlines on it, and RFC 3339."""

from __future__ import annotations

import random
import time
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
    """A moment by which something must be over."""

    at: float
    """By `clock.monotonic()`."""
    clock: Clock = HOST_CLOCK

    @classmethod
    def after(cls, seconds: float, clock: Clock = HOST_CLOCK) -> Deadline:
        return cls(clock.monotonic() + seconds, clock)

    def left(self) -> float:
        """Seconds until then; 0.0 when it has passed."""
        return max(0.0, self.at - self.clock.monotonic())

    def passed(self) -> bool:
        return self.left() <= 0.0

    def within(self, seconds: float) -> Deadline:
        """The sooner of this deadline and `seconds` from now."""
        return Deadline(min(self.at, self.clock.monotonic() + seconds), self.clock)

    def backoff(self, initial: float, maximum: float) -> Backoff:
        """Pauses between tries until this deadline; bounds in seconds."""
        return Backoff(self, initial, maximum)


class Moment(NamedTuple):
    """A moment of another clock, as far as its answers tell: between two ends, in seconds since the epoch.

    What must not outlast its time, as a ticket, is judged by the later end; what must not be cut short, as a pause, by
    the earlier.
    """

    earliest: float
    latest: float

    def later(self, seconds: float) -> Moment:
        return Moment(self.earliest + seconds, self.latest + seconds)


class RemoteClock:
    """Another machine's clock, read from the Date headers of its answers, which have whole seconds.

    The answer was written between the moments when its request left and when it came: so that clock is ahead of ours by
    a number of seconds between two ends, and each reading can only bring these closer together.
    """

    def __init__(self) -> None:
        self._ahead: Moment | None = None

    def read(self, date: float, left: float, came: float) -> None:
        """`left`, `came`: by `Clock.monotonic()`."""
        new = Moment(date - came, date + 1.0 - left)
        old = self._ahead or new
        both = Moment(max(old.earliest, new.earliest), min(old.latest, new.latest))
        # Readings that contradict each other are of another node, or of a clock that was set: the newer one holds.
        self._ahead = both if both.earliest <= both.latest else new

    def at(self, now: float) -> Moment | None:
        """Its time at that moment by `Clock.monotonic()`; None if nothing was read."""
        return None if self._ahead is None else self._ahead.later(now)


class Backoff:
    """Sleeps between tries, with full jitter: up to a bound that doubles from `initial` to `maximum` seconds."""

    __slots__ = ("_bound", "_deadline", "_maximum")

    def __init__(self, deadline: Deadline, initial: float, maximum: float) -> None:
        self._deadline = deadline
        self._bound = initial
        self._maximum = maximum

    def sleep(self, least: float = 0.0) -> bool:
        """False, at once, if the next pause would outlast the deadline. `least`: what a server has asked for."""
        pause = least + random.uniform(0.0, self._bound)  # noqa: S311 - spreads load, guards nothing
        if pause >= self._deadline.left():
            return False
        self._deadline.clock.sleep(pause)
        self._bound = min(self._maximum, self._bound * 2)
        return True


def to_rfc3339(seconds: float) -> str:
    """Seconds since the epoch as `2026-11-23T20:48:04Z` (whole seconds, rounded down)."""
    return datetime.fromtimestamp(int(seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch. ValueError if `text` is not an RFC 3339 time with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return moment.timestamp()
