"""Work that blocks, away from the event loop: so many at once, so many waiting, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Full(Exception):
    """There is no room even to wait."""


class Pool:
    """For one event loop. Who asks for the same as somebody before (`key`) waits for the same answer."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.room = threads + waiting
        self._threads = ThreadPoolExecutor(threads, name)
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}

    async def run(self, key: Hashable, work: Callable[[], T], room: int | None = None) -> T:
        """Full where `room` places (else all there are) are taken."""
        future: asyncio.Future[T] | None = self._under_way.get(key)
        if future is None:
            if len(self._under_way) >= (self.room if room is None else room):
                raise Full
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            self._under_way[key] = future
            future.add_done_callback(lambda done: self._over(key, done))
        # Who goes away takes the answer from nobody else.
        return await asyncio.shield(future)

    def _over(self, key: Hashable, done: asyncio.Future[Any]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, though nobody may be waiting any more

    def close(self) -> None:
        """Nothing new is begun. What a thread is at ends by its own deadline, and is told to nobody."""
        for future in list(self._under_way.values()):
            future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
