"""The audit: one JSON object a line for everything that is done with a grant or a ticket. Never a secret.

Nothing waits for it: `emit` puts an event into a queue, and one thread writes. If the file can't be written the
queue fills up, then events are dropped, and once it works again an event says how many were.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.secret import FINGERPRINT_DIGITS

log = logging.getLogger(__name__)

STANDARD_ERROR = "-"
# Hand-outs are written together, at least so often; anything else at once.
FLUSH_SECONDS = 0.2
# A second and more of as many hand-outs as this host can make. What is rare, and tells of a refresh token, has as much
# room again that no hand-out takes.
MAX_HAND_OUTS = 20_000
MAX_WAITING = 2 * MAX_HAND_OUTS
# Between two tries where the file can't be written.
RETRY_SECONDS = 1.0
# How long the end waits for what is queued.
CLOSE_SECONDS = 5.0
# Names and codes of ours are short; what is longer came from elsewhere.
MAX_FIELD = 200
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Audit:
    """Takes events from any thread and writes them in one of its own."""

    def __init__(self, path: str, dropped: Callable[[int], None] = lambda _count: None) -> None:
        """`path`: a file's, or `-`. `dropped` gets how many events were lost. ConfigError if the file is unusable."""
        self._path = path
        self._told_dropped = dropped
        self._fd = 2 if path == STANDARD_ERROR else -1
        self._queue: deque[tuple[float, Event]] = deque()
        self._dropped = 0
        self._lock = threading.Lock()  # of `_dropped`
        self._any, self._now = threading.Event(), threading.Event()
        self._closing = self._reopen = self._failing = False

        try:
            self._open()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = "Name a file of our user's in a folder that is there."
            raise ConfigError(f"the audit can't be written to {path}: {reason}", hint) from None

        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Never blocks."""
        rare = event.kind != "hand-out"
        if len(self._queue) >= (MAX_WAITING if rare else MAX_HAND_OUTS):
            self._drop(1)
            return
        self._queue.append((time.time(), event))
        if not self._any.is_set():
            self._any.set()
        if rare:
            self._now.set()

    def reopen(self) -> None:
        """The file was moved away, by logrotate for one: go on with a new one at its old place."""
        self._reopen = True
        self._now.set()
        self._any.set()

    def close(self) -> None:
        """Write what is queued, if that can be done in a few seconds."""
        self._closing = True
        self._now.set()
        self._any.set()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            log.warning("the audit could not be written to its end")

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count
        self._told_dropped(count)

    # -- the writer's thread

    def _run(self) -> None:
        waiting = b""  # what could not be written yet
        while True:
            if not waiting and not self._queue and not self._dropped and not self._closing:
                self._any.wait()
            self._any.clear()
            self._now.wait(RETRY_SECONDS if waiting else FLUSH_SECONDS)
            self._now.clear()

            closing = self._closing  # what came before that is in the queue
            if waiting:
                # While it fails new events stay in the queue, whose room is bounded.
                waiting = self._write(waiting)
            if not waiting:
                waiting = self._write(self._lines())

            if closing and (waiting or not self._queue):
                break

        if waiting:
            log.warning("the audit could not be written to its end: %d events are lost", waiting.count(b"\n"))
        if self._fd > 2:
            os.close(self._fd)

    def _lines(self) -> bytes:
        lines = []
        while self._queue:
            lines.append(line(*self._queue.popleft()))
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            lost = {"time": _rfc3339(time.time()), "event": "audit", "outcome": "dropped", "count": dropped}
            lines.append(json.dumps(lost) + "\n")
        return "".join(lines).encode()

    def _write(self, text: bytes) -> bytes:
        """What is left to be written."""
        try:
            if self._path != STANDARD_ERROR and (self._reopen or (text and not self._in_place())):
                self._open()
            self._reopen = False
            return self._append(text)
        except OSError as error:
            self._fails(error)
            return text

    def _append(self, text: bytes) -> bytes:
        """Whole lines only: a piece of one is taken back where that can be done."""
        # To a pipe a short text is written whole, between the log's lines; a file is ours alone.
        pieces = text.splitlines(keepends=True) if self._path == STANDARD_ERROR else [text]
        done = 0

        try:
            for piece in pieces:
                end = done + len(piece)
                while done < end:
                    done += os.write(self._fd, text[done:end])
        except OSError as error:
            self._fails(error)
            whole = text.rfind(b"\n", 0, done) + 1
            if self._path != STANDARD_ERROR and whole < done:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, os.fstat(self._fd).st_size - (done - whole))
                    done = whole
            return text[done:]

        if text and self._failing:
            self._failing = False
            log.warning("the audit is written again")
        return b""

    def _fails(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.warning("the audit can't be written to %s: %s", self._path, error.strerror or error)

    def _in_place(self) -> bool:
        """Whether our file is still the one at its path."""
        ours = os.fstat(self._fd)
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        if self._path == STANDARD_ERROR:
            return
        fd = os.open(self._path, _FLAGS, 0o600)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(fd)
            raise OSError(None, "it is no file, or another user's")
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd


def line(at: float, event: Event) -> str:
    """Nothing in it is longer than a name."""
    plain = {
        "time": _rfc3339(at),
        "event": event.kind,
        "profile": event.profile[:MAX_FIELD],
        "outcome": event.outcome,
        "who": event.who[:MAX_FIELD],
        "fingerprint": event.fingerprint if len(event.fingerprint) == FINGERPRINT_DIGITS else "",
        "detail": event.detail[:MAX_FIELD],
    }
    return json.dumps({name: value for name, value in plain.items() if value}) + "\n"


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
