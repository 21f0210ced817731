"""The daemon as systemd would start it: its sockets are handed over, and what it says of itself is heard."""

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemons import Daemon, ask, configure
from tests.daemon.test_systemd_credentials import answer, as_systemd, connect, refused
from tests.e2e.site import Site
from tests.support.cli import COMMAND
from tests.support.process import Process, wait_until

# What systemd does before it runs a service's program.
START = """
import os, socket, sys
http, credentials, *command = sys.argv[1:]
made = []
for path in (http, credentials):
    one = socket.socket(socket.AF_UNIX)
    one.bind(path)
    one.listen()
    made.append(os.dup(one.fileno()))
for at, fd in enumerate([os.dup2(fd, 50 + at) for at, fd in enumerate(made)]):
    os.dup2(fd, 3 + at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:credentials",
               "WATCHDOG_PID": str(os.getpid()), "WATCHDOG_USEC": "600000"}
os.execv(command[0], command)
"""


class Started(Daemon):
    """`messages`: all that was said to systemd so far."""

    def start(self) -> None:
        folder = self.socket.parent
        folder.mkdir(exist_ok=True)
        self.credentials = folder / "credentials"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.messages: list[str] = []
        command: list[str | Path] = [sys.executable, "-c", START, self.socket, self.credentials, COMMAND, "daemon"]
        env = self.host.env({"NOTIFY_SOCKET": str(folder / "notify")})
        self._process = Process(command, log=self.log, env=env, cwd=self.host.home)
        self.hear("READY=1")

    def hear(self, state: str) -> str:
        """The next message of that state."""
        self.manager.settimeout(30)
        while True:
            self.messages.append(self.manager.recv(4096).decode())
            if self.messages[-1].startswith(state):
                return self.messages[-1]

    def close(self) -> None:
        self.manager.close()
        shutil.rmtree(self.socket.parent, ignore_errors=True)


@pytest.fixture
def daemon(site: Site) -> Iterator[Started]:
    configure(site, site.helper)  # its `listen` has the path that systemd hands over
    made = Started(site.helper)
    yield made
    made.close()


def test_it_serves_the_sockets_that_are_handed_over_and_says_how_it_is(site: Site, daemon: Started) -> None:
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        token = daemon.token(site.profile)
        given = answer(connect(daemon.credentials, as_systemd("app.service", site.profile)))
        assert given.decode() == token
        assert refused(answer(connect(daemon.credentials, as_systemd("app.service", "another"))))
        daemon.hear("WATCHDOG=1")
        daemon.hang_up()
        assert "MONOTONIC_USEC=" in daemon.hear("RELOADING=1")
        assert "1 of 1 profiles have a usable ticket" in daemon.hear("READY=1")
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC=" in daemon.hear("STOPPING=1")
        wait_until(lambda: not daemon.running, "its end")
        assert daemon.process.code == 0
    # They are systemd's: the next daemon gets them again.
    assert daemon.socket.exists()
    assert daemon.credentials.exists()
    with pytest.raises(ConnectionRefusedError):
        ask(daemon.socket, "/healthz")
