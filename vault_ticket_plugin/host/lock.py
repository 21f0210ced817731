"""One process per host and ticket: the others queue on a lock that SIGKILL releases.

A flock belongs to the open file: whoever holds a copy of the descriptor holds the lock. So it is closed and never
unlocked, which would free it for the copies too, and each fork of the program but the one that carries a spend closes
its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import weakref
from collections.abc import Iterator

from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.refresh.carrier import Request

log = logging.getLogger(__name__)

# Of the random id in a lock's file, and of a lock's name.
ID_DIGITS, NAME_DIGITS = 16, 16
# The file has two short lines.
MAX_LINES = 256


class HeldLock:
    """`Held` (refresh/carrier.py): an open file, and the lock on it once that is taken."""

    __slots__ = ("__weakref__", "_path", "fd")

    def __init__(self, fd: int, folder: Folder, file: str) -> None:
        self.fd = fd
        self._path = (folder, file)
        _open.add(self)

    def take(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def name(self) -> str:
        """A fingerprint of this boot, the file, and a random id in it.

        Empty if the path leads to another file by now, or one boot can't be told from another.
        """
        boot = boot_id()
        if boot is None or not self._is_there_still():
            return ""
        found = os.fstat(self.fd)
        key = f"{boot} {found.st_dev} {found.st_ino} {self._id()}"
        return hashlib.sha256(key.encode()).hexdigest()[:NAME_DIGITS]

    def request(self) -> Request | None:
        words = os.pread(self.fd, MAX_LINES, 0).decode("ascii", "replace").split("\n")[1:2]
        try:
            fingerprint, ends = words[0].split(" ")
            return Request(fingerprint, float(ends))
        except (IndexError, ValueError):
            return None

    def note_request(self, request: Request | None) -> None:
        line = "" if request is None else f"{request.fingerprint} {request.ends!r}\n"
        _write(self.fd, f"{self._id()}\n{line}")

    def _id(self) -> str:
        first = os.pread(self.fd, MAX_LINES, 0).decode("ascii", "replace").partition("\n")[0]
        if len(first) == ID_DIGITS:
            return first
        made = secrets.token_hex(ID_DIGITS // 2)
        _write(self.fd, f"{made}\n")
        return made

    def _is_there_still(self) -> bool:
        try:
            there = os.stat(self._path[1], dir_fd=self._path[0].fd, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self.fd))

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

    @property
    def lock(self) -> HeldLock | None:
        """For as long as it is our turn."""
        return self._lock

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
            fd = os.open(self._name, flags, 0o600, dir_fd=self._folder.fd)
            return HeldLock(fd, self._folder, self._name)
        except OSError as error:
            log.warning("calls on this host do not queue: %s/%s (%s)", self._folder.path, self._name, error.strerror)
            return None


def boot_id() -> str | None:
    """Names this boot of this host; None where the system has no such name."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except OSError:
        return None


def _write(fd: int, text: str) -> None:
    """In one call, and then what was longer before is cut off: a reader has the lock, so that none is between."""
    os.pwrite(fd, text.encode(), 0)
    os.ftruncate(fd, len(text))


_open: weakref.WeakSet[HeldLock] = weakref.WeakSet()


def _close_all() -> None:
    for lock in list(_open):
        lock.close()


os.register_at_fork(after_in_child=_close_all)
