"""Commands that are run when something changes with a profile. No shell, no secret, and bounded in every way."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.daemon.keeper import Change
from vault_ticket_plugin.environment import PROXY_NAMES

log = logging.getLogger(__name__)

Outcome = Literal["done", "failed", "timed-out", "not-run", "dropped"]
# Hooks under way at once. One profile's never overlap, and keep their order.
AT_ONCE = 4
# Changes that wait for their turn. A new ticket replaces one that waits, so only failures and recoveries add up.
MAX_WAITING = 10_000
# Of a command's output the beginning is logged.
MAX_OUTPUT, MAX_LINES = 4096, 20
MAX_DETAIL = 4096
# Ours alone: a Vault token, the secret id, and what lets a process speak to systemd for us.
KEPT_BACK = frozenset(
    {
        *("VAULT_TOKEN", "BAO_TOKEN", "CREDENTIALS_DIRECTORY"),
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
        # what is said of a change, and would be wrong of another
        *("VAULT_TICKET_EXPIRES_AT", "VAULT_TICKET_ERROR", "VAULT_TICKET_HINT", "VAULT_TICKET_EXIT_CODE"),
    }
)
# What we ignore or handle must not be ignored there.
_DEFAULT_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Hooks:
    """Runs the commands for what happens to profiles. Threads are started by the first one."""

    def __init__(
        self,
        commands: Mapping[str, tuple[str, ...]],
        timeout: float,
        environ: Mapping[str, str],
        on_finished: Callable[[str, Outcome], None] = lambda _what, _outcome: None,
    ) -> None:
        """`commands`: by what happens. `on_finished` gets how each one ended."""
        self._commands = commands
        self._timeout = timeout
        self._environ = passed_on(environ)
        self._on_finished = on_finished
        self._condition = threading.Condition()
        self._waiting: dict[str, deque[Change]] = {}  # by profile
        self._turns: deque[str] = deque()  # profiles that something waits for and nothing runs for
        self._running: set[str] = set()
        self._count = 0
        self._threads: list[threading.Thread] = []
        self._closing = False

    def replace(self, commands: Mapping[str, tuple[str, ...]], timeout: float) -> None:
        """From now on these."""
        with self._condition:
            self._commands, self._timeout = commands, timeout

    def emit(self, change: Change) -> None:
        """Never blocks."""
        with self._condition:
            if change.what not in self._commands or self._closing:
                return

            waiting = self._waiting.setdefault(change.profile, deque())
            if waiting and waiting[-1].what == change.what == "refreshed":
                waiting[-1] = change
                return
            if self._count >= MAX_WAITING:
                if not waiting:
                    del self._waiting[change.profile]
                self._on_finished(change.what, "dropped")
                return

            waiting.append(change)
            self._count += 1
            if len(waiting) == 1 and change.profile not in self._running:
                self._turns.append(change.profile)

            if len(self._threads) < AT_ONCE and len(self._turns) + len(self._running) > len(self._threads):
                thread = threading.Thread(target=self._work, name="hooks", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._condition.notify()

    def finish(self, seconds: float) -> None:
        """Let all that waits run, for so long."""
        with self._condition:
            self._condition.wait_for(lambda: not self._count and not self._running, seconds)

    def close(self) -> None:
        """Whatever waits is not run any more; what runs may take its time, which is bounded."""
        with self._condition:
            self._closing = True
            left = self._count
            for waiting in self._waiting.values():
                for change in waiting:
                    self._on_finished(change.what, "dropped")
            self._waiting.clear()
            self._turns.clear()
            self._count = 0
            self._condition.notify_all()

        if left:
            log.warning("%d hooks are not run: the daemon ends", left)

        ends = time.monotonic() + self._timeout + 1
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._turns and not self._closing:
                    self._condition.wait()
                if self._closing:
                    return
                profile = self._turns.popleft()
                change = self._waiting[profile].popleft()
                self._count -= 1
                self._running.add(profile)
                command, timeout = self._commands.get(change.what), self._timeout

            try:
                if command is not None:
                    self._on_finished(change.what, run(command, self._environ | details(change), timeout, change))
            finally:
                with self._condition:
                    self._running.discard(profile)
                    waiting = self._waiting.get(profile)
                    if waiting:
                        self._turns.append(profile)
                    elif waiting is not None:
                        del self._waiting[profile]
                    self._condition.notify_all()


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is secret in it."""
    return {
        name: value
        for name, value in environ.items()
        if name not in KEPT_BACK and not (name in PROXY_NAMES and _has_password(value))
    }


def details(change: Change) -> dict[str, str]:
    found = {"VAULT_TICKET_EVENT": change.what, "VAULT_TICKET_PROFILE": change.profile}
    if change.ticket is not None:
        found["VAULT_TICKET_EXPIRES_AT"] = to_rfc3339(change.ticket.expires_at)
    if change.error is not None:
        found["VAULT_TICKET_ERROR"] = change.error.message
        found["VAULT_TICKET_HINT"] = change.error.hint
        found["VAULT_TICKET_EXIT_CODE"] = str(change.error.exit_code)
    return {name: _plain(value) for name, value in found.items()}


def run(command: tuple[str, ...], environ: Mapping[str, str], timeout: float, about: Change) -> Outcome:
    """In a process group of its own, of which nothing is left when this returns."""
    name = f"hook {about.what} of {about.profile}"
    try:
        reader, writer = os.pipe()
    except OSError as error:
        log.warning("%s: can't be run: %s", name, error.strerror)
        return "not-run"

    try:
        try:
            pid = os.posix_spawnp(
                command[0],
                command,
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, writer, 1),
                    (os.POSIX_SPAWN_DUP2, writer, 2),
                ],
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except (OSError, ValueError) as error:
            log.warning("%s: %s can't be run: %s", name, command[0], getattr(error, "strerror", None) or "a wrong name")
            return "not-run"
        finally:
            os.close(writer)

        in_time, output = _follow(pid, reader, time.monotonic() + timeout)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(reader)

    for line in output.decode("utf-8", "replace").splitlines()[:MAX_LINES]:
        log.info("%s: %s", name, "".join(letter if letter.isprintable() else " " for letter in line))

    if not in_time:
        log.warning("%s: %s was ended: it took longer than %g s", name, command[0], timeout)
        return "timed-out"
    if code:
        log.warning("%s: %s ended with %s", name, command[0], f"signal {-code}" if code < 0 else f"exit code {code}")
    return "failed" if code else "done"


def _follow(pid: int, reader: int, ends: float) -> tuple[bool, bytes]:
    """Until it ends, or is ended; whether it did by itself, and the beginning of its output. It is not reaped yet."""
    output, in_time, process = bytearray(), False, -1
    try:
        process = os.pidfd_open(pid)
        os.set_blocking(reader, False)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(reader, select.POLLIN)

        while not in_time and (left := ends - time.monotonic()) > 0:
            ready = {fd for fd, _ in poll.poll(left * 1000)}
            in_time = process in ready
            if reader in ready and not _read(reader, output):
                poll.unregister(reader)
    except OSError as error:  # no descriptor is left: what can't be watched is not let run
        log.warning("a hook can't be followed: %s", error.strerror)
    finally:
        if process >= 0:
            os.close(process)
        # As long as it is not reaped, no other group can have its number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    return in_time, bytes(output)


def _read(reader: int, output: bytearray) -> bool:
    """Whether more may come. What is beyond the limit is read and forgotten, so that nobody waits for us."""
    try:
        piece = os.read(reader, 65536)
    except BlockingIOError:
        return True
    output += piece[: MAX_OUTPUT - len(output)]
    return bool(piece)


def _plain(text: str) -> str:
    """As an environment can hold it."""
    return text[:MAX_DETAIL].replace("\0", " ").encode("utf-8", "replace").decode()


def _has_password(url: str) -> bool:
    try:
        return "@" in urlsplit(url if "//" in url else f"//{url}").netloc
    except ValueError:
        return True
