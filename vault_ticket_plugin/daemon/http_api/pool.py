"""Work that blocks, away from the event loop: so many at once, so many waiting, and no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Full(Exception):
    """There is no room even to wait."""


class Pool:
    """For one event loop. Who asks for the same as somebody before waits for the same answer."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._room = threads + waiting
        self._threads = ThreadPoolExecutor(threads, name)
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}
        self._taken: Counter[Hashable] = Counter()

    async def run(self, key: Hashable, caller: Hashable, work: Callable[[], T]) -> T:
        """`key`: what is asked for. Full if no place is free, or half of them are this caller's."""
        future: asyncio.Future[T] | None = self._under_way.get(key)
        if future is None:
            if len(self._under_way) >= self._room or self._taken[caller] >= self._room // 2:
                raise Full
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            self._under_way[key] = future
            self._taken[caller] += 1
            future.add_done_callback(lambda done: self._over(key, caller, done))
        # Who goes away takes the answer from nobody else.
        return await asyncio.shield(future)

    def _over(self, key: Hashable, caller: Hashable, done: asyncio.Future[Any]) -> None:
        del self._under_way[key]
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        if not done.cancelled():
            done.exception()  # seen, though nobody may be waiting any more

    def close(self) -> None:
        """Nothing new is begun. What a thread is at ends by its own deadline, and nobody gets it."""
        for future in list(self._under_way.values()):
            future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
