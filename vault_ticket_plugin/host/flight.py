"""Threads that ask for the same thing at the same time share one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Flight(Generic[T]):
    """Threads that ask for the same thing at the same time get one answer, or one error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Hashable, Future[T]] = {}

    def share(self, key: Hashable, ask: Callable[[], T], patience: float | None = None) -> T:
        """`patience`: seconds to wait for another thread's call; TimeoutError when they are over."""
        with self._lock:
            flying = self._flying.get(key)
            if flying is None:
                mine: Future[T] = Future()
                self._flying[key] = mine

        if flying is not None:
            try:
                return flying.result(patience)
            except BaseException as error:
                interrupted = not isinstance(error, Exception) and flying.done() and flying.exception() is error
                if not interrupted:
                    raise
            # That thread was told to end. This one was not.
            return self.share(key, ask, patience)

        try:
            mine.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it too
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._flying[key]
        return mine.result()
