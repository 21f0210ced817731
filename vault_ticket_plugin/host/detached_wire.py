"""What a command and the process that spends for it say to each other: a JSON array a line, one way.

    ["pid", 4711]  ["log", [logger, level, text, details]]  ["done", outcome]  ["failed", error]  ["gone", null]

The other way there is one word: the end. The refresh token crosses it in neither direction.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import select
import signal
import socket
import time
from types import FrameType
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import SpendEnded, VaultTicketError
from vault_ticket_plugin.host import cache
from vault_ticket_plugin.model import LiveTicket
from vault_ticket_plugin.refresh.carrier import goes_on

# So long a process waits for a command that does not read. It has done its work by then.
MUTE_SECONDS = 1.0
PIECE = 1 << 16


class CallerGone(BaseException):
    """Raised in the process where it stands, if nobody waits and nothing is claimed yet."""


class Voice(logging.Handler):
    """To the command: a JSON object a line. Never waits long for one that does not read."""

    def __init__(self, to_caller: socket.socket) -> None:
        super().__init__()
        self._socket = to_caller
        self._socket.setblocking(False)
        self._mute = False

    def emit(self, record: logging.LogRecord) -> None:
        self.say("log", [record.name, record.levelno, record.getMessage(), getattr(record, "details", None)])

    def say(self, kind: str, what: Any) -> None:
        rest = memoryview(json.dumps([kind, what]).encode() + b"\n")
        while rest and not self._mute:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._mute = not _ready(self._socket, select.POLLOUT, MUTE_SECONDS)
            except OSError:  # it is gone
                self._mute = True


class Remote:
    """`Waiter` (refresh/carrier.py) in another process. It never writes: what comes from it is its end."""

    def __init__(self, to_caller: socket.socket) -> None:
        self._socket = to_caller
        self._committed = False
        signal.signal(signal.SIGIO, self._on_change)
        fcntl.fcntl(to_caller, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(to_caller, fcntl.F_SETFL, fcntl.fcntl(to_caller, fcntl.F_GETFL) | os.O_ASYNC)

    def gone(self) -> bool:
        return _ready(self._socket, select.POLLIN, 0.0)

    def commit(self) -> None:
        self._committed = True

    def _on_change(self, _number: int, _frame: FrameType | None) -> None:
        if not self._committed and self.gone():
            raise CallerGone


class Link:
    """The command's end of the socket."""

    def __init__(self, to_process: socket.socket) -> None:
        self.answered = False
        self._socket = to_process
        self._rest = b""
        self._pid: int | None = None

    def result(self, patience: Deadline) -> LiveTicket | None:
        """What came of the job. SpendEnded if the process ended without a word."""
        while True:
            words = self._next(patience.left())
            if words is None:
                raise goes_on()
            if not words:
                raise SpendEnded(
                    "the process that was refreshing this ticket was ended before it had finished",
                    "Try again: the next call goes on where it stopped. Something on this host kills processes, for "
                    "want of memory perhaps.",
                )
            match words:
                case ["done", plain]:
                    self.answered = True
                    return _live(plain)
                case ["failed", plain]:
                    self.answered = True
                    raise VaultTicketError.from_plain(plain)
                case ["log", record]:
                    _show(record)
                case ["pid", pid]:
                    self._pid = pid

    def say_that_we_leave(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def read_to_end(self, seconds: float) -> None:
        """And as the one who inherits orphans, wait for it."""
        ends = time.monotonic() + seconds
        while words := self._next(max(0.0, ends - time.monotonic())):
            match words:
                case ["log", record]:
                    _show(record)
                case ["pid", pid]:
                    self._pid = pid
        if words is not None and self._pid is not None:
            with contextlib.suppress(ChildProcessError):  # another one inherits it
                os.waitpid(self._pid, 0)

    def close(self) -> None:
        self._socket.close()

    def _next(self, seconds: float) -> list[Any] | None:
        """What it says next; empty at the end, None if nothing came in time."""
        ends = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not _ready(self._socket, select.POLLIN, ends - time.monotonic()):
                return None
            try:
                piece = self._socket.recv(PIECE)
            except ConnectionError:
                piece = b""
            if not piece:
                return []
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        words: list[Any] = json.loads(line)
        return words


def outcome_to_plain(live: LiveTicket | None) -> dict[str, Any] | None:
    if live is None:
        return None
    return {
        "ticket": cache.ticket_to_plain(live.ticket),
        "ends": live.ends,
        "problem": None if live.problem is None else live.problem.to_plain(),
        "shared": live.shared,
        "unpublished": live.unpublished,
    }


def _live(plain: dict[str, Any] | None) -> LiveTicket | None:
    if plain is None:
        return None
    return LiveTicket(
        ticket=cache.ticket_from_plain(plain["ticket"]),
        ends=plain["ends"],
        problem=None if plain["problem"] is None else VaultTicketError.from_plain(plain["problem"]),
        shared=plain["shared"],
        unpublished=plain["unpublished"],
    )


def _show(record: list[Any]) -> None:
    """As if it had been logged here."""
    name, level, message, details = record
    made = logging.LogRecord(name, level, __file__, 0, "%s", (message,), None)
    if details is not None:
        made.details = details
    logging.getLogger(name).handle(made)


def _ready(one: socket.socket, event: int, seconds: float) -> bool:
    """poll(2), since select(2) takes no descriptor beyond 1023, and callers leave us theirs."""
    poll = select.poll()
    poll.register(one, event)
    return bool(poll.poll(math.ceil(max(0.0, seconds) * 1000)))
