"""Cuts what lasts beyond its time: one thread for all exchanges of a process.

It is there before it is needed: an interpreter that is ending starts no thread any more (Python 3.12), and a spend in
a thread of its own may outlive the main one.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator


class Watchdog:
    """Safe to use from several threads. Its thread begins with the first exchange, and waits between them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._ends: list[tuple[float, int]] = []
        """A heap. What is over stays in it until it comes to the front."""
        self._cuts: dict[int, Callable[[], None]] = {}
        """By number, for what is not over."""
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, seconds: float, cut: Callable[[], None]) -> Iterator[None]:
        """`cut` is called, once, if this lasts longer. It must neither block nor raise."""
        number = next(self._numbers)
        with self._changed:
            self._begin()
            self._cuts[number] = cut
            heapq.heappush(self._ends, (time.monotonic() + seconds, number))
            if self._ends[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._cuts.pop(number, None)
                self._forget_what_is_over()

    def start(self) -> None:
        """Be there for exchanges that begin when no thread can be started any more."""
        with self._changed:
            self._begin()

    def end(self) -> None:
        """No thread until the next exchange: a process that forks must not have any. Not during an exchange."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        # If no thread is to be had, urllib3's own limits still bound each read.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _forget_what_is_over(self) -> None:
        while self._ends and self._ends[0][1] not in self._cuts:
            heapq.heappop(self._ends)

    def _run(self) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                self._forget_what_is_over()
                left = self._ends[0][0] - time.monotonic() if self._ends else None
                if left is None or left > 0:
                    self._changed.wait(left)
                else:
                    self._cuts.pop(heapq.heappop(self._ends)[1])()


WATCHDOG = Watchdog()
# A fork has none of the threads, and perhaps a lock that nobody will release.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCHDOG.__init__)  # type: ignore[misc]
