"""One process per host and ticket: the others queue on a lock that SIGKILL releases.

A flock belongs to the open file: whoever holds a copy of the descriptor holds the lock. So it is closed and never
unlocked, which would free it for the copies too, and each fork of the program but the one that carries a spend closes
its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import weakref
from collections.abc import Iterator

from vault_ticket_plugin.folder import Folder

log = logging.getLogger(__name__)


class HeldLock:
    """`Held` (refresh/carrier.py): an open file, and the lock on it once that is taken."""

    __slots__ = ("__weakref__", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _open.add(self)

    def take(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def keep_in_fork(self) -> None:
        """The next fork carries the spend, and the lock with it."""
        _open.discard(self)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Turn:
    """A place in the queue for the lock."""

    __slots__ = ("_lock",)

    def __init__(self, lock: HeldLock | None) -> None:
        self._lock = lock

    def take(self) -> bool:
        """Whether it is our turn now. Without a lock it always is."""
        return self._lock is None or self._lock.take()

    def hand_over(self) -> HeldLock | None:
        """The lock is another's to close from now on."""
        lock, self._lock = self._lock, None
        return lock

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()


class HostLock:
    """A flock on a file in the runtime folder. Without a folder it is always free: Vault's claim still holds."""

    def __init__(self, folder: Folder | None, name: str) -> None:
        self._folder = folder
        self._name = name

    @contextlib.contextmanager
    def queued(self) -> Iterator[Turn]:
        """The lock is given up at the end, unless it was handed over."""
        turn = Turn(self._open())
        try:
            yield turn
        finally:
            turn.close()

    def _open(self) -> HeldLock | None:
        if self._folder is None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return HeldLock(os.open(self._name, flags, 0o600, dir_fd=self._folder.fd))
        except OSError as error:
            log.warning("calls on this host do not queue: %s/%s (%s)", self._folder.path, self._name, error.strerror)
            return None


_open: weakref.WeakSet[HeldLock] = weakref.WeakSet()


def _close_all() -> None:
    for lock in list(_open):
        lock.close()


os.register_at_fork(after_in_child=_close_all)
