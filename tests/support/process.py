"""Starting and ending servers so that none is ever left behind."""

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """A free loopback port below the range that outgoing connections get theirs from.

    A port from inside that range could be taken by any client in between, and a client that keeps
    knocking at a stopped server there would in the end connect to itself.
    """
    while True:
        port = random.randrange(11000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(ready: Callable[[], bool], what: str, timeout: float = 30.0, interval: float = 0.05) -> None:
    """Polls until `ready()`; TimeoutError names what did not come."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


class Process:
    """A server of ours with a log file, ended by its pid.

    A guard beside it waits for the end of a pipe that only we hold, and kills the server when we are gone,
    however we went (a worker of pytest that is killed runs no teardown).
    """

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env), cwd=cwd
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -KILL "$0" 2>/dev/null', str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def pids(self) -> set[int]:
        """All that was started, the guard too."""
        return {self.pid, self._guard.pid}

    @property
    def alive(self) -> bool:
        return self._server.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._server.poll()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help within ten seconds."""
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
        self._reap()

    def kill(self) -> None:
        self._server.kill()
        self._reap()

    def _reap(self) -> None:
        self._server.wait()
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


def children() -> set[int]:
    """The pids of this process's own children (Linux; elsewhere none are seen)."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, listing.read_text().split()))
        except OSError:  # that thread has just ended
            continue
    return found


def processes_with(variable: str) -> set[int]:
    """The pids of all that have this in their environment (`NAME=value`), whoever's children they are (Linux)."""
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parent.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def clean_env(home: Path, **more: str) -> dict[str, str]:
    """An environment with nothing of ours in it but PATH."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", **more}
