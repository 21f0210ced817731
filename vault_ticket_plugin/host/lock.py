"""One caller per host and ticket: threads share one call, processes queue on a lock that SIGKILL releases."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from vault_ticket_plugin.folder import Folder

T = TypeVar("T")

log = logging.getLogger(__name__)


class HostLock:
    """A flock on a file in the runtime folder. Without a folder it is always free: Vault's claim still holds."""

    def __init__(self, folder: Folder | None, name: str) -> None:
        self._folder = folder
        self._name = name

    @contextlib.contextmanager
    def queued(self) -> Iterator[Callable[[], bool]]:
        """A function that tries to take the lock; it is released at the end."""
        fd = self._open()
        try:
            yield (lambda: True) if fd is None else (lambda: _try(fd))
        finally:
            if fd is not None:
                os.close(fd)

    def _open(self) -> int | None:
        if self._folder is None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._name, flags, 0o600, dir_fd=self._folder.fd)
        except OSError as error:
            log.warning("calls on this host do not queue: %s/%s (%s)", self._folder.path, self._name, error.strerror)
            return None


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Flight(Generic[T]):
    """Threads that ask for the same thing at the same time get one answer, or one error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Hashable, Future[T]] = {}

    def share(self, key: Hashable, ask: Callable[[], T]) -> T:
        with self._lock:
            flying = self._flying.get(key)
            if flying is None:
                mine: Future[T] = Future()
                self._flying[key] = mine
        if flying is not None:
            return flying.result()
        try:
            mine.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it too
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._flying[key]
        return mine.result()
