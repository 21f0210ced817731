"""What systemd and a service say to each other: sd_notify(3), its watchdog, sockets handed over (sd_listen_fds(3)).

All of it is silent where no systemd is. The variables are taken out of the environment: no program that we run may
speak for us.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping

log = logging.getLogger(__name__)

# The first socket that is handed over; those before it are standard input, output and error.
FIRST_FD = 3
# A service manager that is behind with its reading must not hold us up for longer.
SEND_SECONDS = 1.0
# systemd's own clients ask for half of the time; a third leaves room for one message that came late.
WATCHDOG_SHARE = 1 / 3


class Notifier:
    """Safe to use from several threads."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self.watchdog_every = _watchdog_every(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        """Seconds between signs of life; None if none is wanted."""

    def ready(self, status: str = "") -> None:
        """Also when what `reloading` began is over."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float, status: str = "") -> None:
        """`seconds`: how long what is under way may take yet. Nobody kills us before that."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", _status(status))

    def status(self, status: str) -> None:
        self._send(_status(status))

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def watch(self, alive: Callable[[], bool], ended: threading.Event) -> None:
        """Give signs of life for as long as there is any, until `ended`. Returns at once where none is wanted."""
        if self._address is None or self.watchdog_every is None:
            return
        while True:
            if alive():
                self.watchdog()
            if ended.wait(self.watchdog_every):
                return

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        message = "\n".join(line for line in lines if line).encode("utf-8", "replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(SEND_SECONDS)
                sock.sendto(message, self._address)
        except OSError as error:
            log.info("systemd was not told: %s", error.strerror or "it does not read")


def inherited(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The listening sockets that socket units hand over, by their FileDescriptorName=."""
    given = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return []
    names = given["LISTEN_FDNAMES"].split(":")
    found = []
    for index in range(int(given["LISTEN_FDS"])):
        name = names[index] if index < len(names) else ""
        sock = _listening(FIRST_FD + index)
        if sock is None:
            log.warning("systemd handed over %r, which is no listening stream socket: it is not used", name)
        else:
            found.append((name, sock))
    return found


def _listening(fd: int) -> socket.socket | None:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError:
        return None  # it is left open: nobody knows whose it is
    try:
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
    except OSError:
        pass
    sock.detach()
    return None


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_every(usec: str, pid: str) -> float | None:
    """WATCHDOG_PID is not there where any process of the service may give the sign."""
    if not usec.isdecimal() or int(usec) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(usec) / 1_000_000 * WATCHDOG_SHARE


def _status(text: str) -> str:
    """One line: a second one would be another message."""
    return f"STATUS={' '.join(text.split())}" if text else ""
