"""One process per host and ticket: the others queue on a lock that SIGKILL releases."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator

from vault_ticket_plugin.folder import Folder

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
