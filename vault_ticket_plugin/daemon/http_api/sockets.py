"""The sockets that the daemon listens on: made here, and removed at the end; never a living daemon's, never a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import Self

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.hosts import is_loopback

BACKLOG = 1024
# Two daemons that start at once take turns in looking and binding; anybody who may open the folder could hold the turn.
TURN_SECONDS = 2.0
ANSWER_SECONDS = 2.0


class ListeningSocket:
    """A socket that listens."""

    def __init__(self, listener: Listener, made: socket.socket, inode: tuple[int, int] | None = None) -> None:
        """`listener` has the port that was really taken."""
        self.listener = listener
        self.socket = made
        self._inode = inode

    @classmethod
    def given(cls, listener: Listener, inherited: socket.socket) -> Self:
        """One that somebody else made and will remove. ConfigError if it is open to other hosts."""
        if inherited.family != socket.AF_UNIX:
            host, port = inherited.getsockname()[:2]
            if not is_loopback(host):
                raise ConfigError(
                    f"the socket {host}:{port} that we were started with is open to other hosts",
                    "No token is sent over a network unencrypted: give a loopback address or a unix socket.",
                )
            listener = Listener(host=host, port=port)
        return cls(listener, inherited)

    def close(self) -> None:
        """It is removed only where it is still the one that we made."""
        self.socket.close()
        if self._inode is not None:
            with contextlib.suppress(OSError):
                if _inode(os.lstat(self.listener.path)) == self._inode:
                    os.unlink(self.listener.path)


def listen(listener: Listener, mode: int) -> ListeningSocket:
    """ConfigError if that can't be. `mode` is the file mode of a unix socket."""
    try:
        return _unix(listener, mode) if listener.path else _tcp(listener)
    except OSError as error:
        raise ConfigError(
            f"can't listen on {listener}: {error.strerror or error}", "Correct `listen` under [daemon]."
        ) from None


def _tcp(listener: Listener) -> ListeningSocket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not is_loopback(str(address[0])):
        raise ConfigError(f"{listener.host} is {address[0]} here, no loopback address", "Write 127.0.0.1 instead.")
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return ListeningSocket(Listener(host=listener.host, port=made.getsockname()[1]), made)


def _unix(listener: Listener, mode: int) -> ListeningSocket:
    folder = os.path.dirname(listener.path)
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o755)
        os.chmod(folder, 0o755)  # noqa: S103 - others must get at the socket; who they are is asked there

    made = socket.socket(socket.AF_UNIX)
    try:
        with _turn(folder):
            _make_way(listener.path)
            made.bind(listener.path)
            # Nobody can connect before it listens, so nobody meets it with another mode.
            os.chmod(listener.path, mode)
            inode = _inode(os.lstat(listener.path))
            made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise

    return ListeningSocket(listener, made, inode)


def _make_way(path: str) -> None:
    """Remove the socket of a daemon that has died. ConfigError for anything else that is in the way."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is there, and is no socket", "Remove it, or listen elsewhere.")
    if _alive(path):
        raise ConfigError(f"another daemon listens on {path}", "Stop that one first, or listen elsewhere.")
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} is the socket of another user (uid {found.st_uid})", "Remove it, or listen elsewhere."
        )
    os.unlink(path)


def _alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(ANSWER_SECONDS)
        try:
            knock.connect(path)
        except OSError as error:
            # Anything but a plain no may be one that is only busy.
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


@contextlib.contextmanager
def _turn(folder: str) -> Iterator[None]:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + TURN_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        yield
    finally:
        os.close(place)


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
