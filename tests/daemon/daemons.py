"""`vault-ticket daemon` as a real process on a simulated host, and a client of its socket."""

import contextlib
import http.client
import json
import os
import signal
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.e2e.site import Site
from tests.support.cli import COMMAND, Host, toml
from tests.support.process import Process, wait_until


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: Path, target: str, method: str = "GET", timeout: float = 40.0, **headers: str) -> Answer:
    """One request over the unix socket; header names with `_` for `-`."""
    connection = UnixConnection(path, timeout)
    try:
        connection.request(method, target, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Daemon:
    """One on the host, with the host's configuration, which must name `socket` as where to listen."""

    def __init__(self, host: Host, *options: str) -> None:
        self.host = host
        self.options = options
        self.socket = socket_of(host)
        self.log = host.folder / "daemon.log"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    def start(self) -> None:
        """Returns when it answers."""
        command: list[str | Path] = [COMMAND, "daemon", *self.options]
        self._process = Process(command, log=self.log, env=self.host.env(), cwd=self.host.home)
        wait_until(lambda: not self.running or self.answers(), "the daemon's first answer")
        assert self.running, self.log.read_text()[-3000:]

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        return self.process.alive

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask(self.socket, "/healthz", timeout=5).status == 200
        return False

    def ready(self) -> bool:
        return ask(self.socket, "/readyz").status == 200

    def wait_until_ready(self) -> None:
        try:
            wait_until(self.ready, "every ticket")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log.read_text()[-3000:]}") from None

    def ticket(self, profile: str, query: str = "") -> Answer:
        return ask(self.socket, f"/v1/tickets/{profile}{query}")

    def token(self, profile: str) -> str:
        """The access token that is handed out; it must be."""
        answer = self.ticket(profile)
        assert answer.status == 200, (answer.body, self.log.read_text()[-3000:])
        return str(answer.json()["AccessToken"])

    def metrics(self) -> dict[str, float]:
        """By name and labels, as they are written."""
        lines = ask(self.socket, "/metrics").body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def hang_up(self) -> None:
        self._signal(signal.SIGHUP)

    def terminate(self) -> int:
        """Its exit code."""
        self._signal(signal.SIGTERM)
        wait_until(lambda: not self.running, "its end", timeout=60)
        code = self.process.code
        self.process.stop()
        assert code is not None
        return code

    def kill(self) -> None:
        self.process.kill()

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


def socket_of(host: Host) -> Path:
    """Short, for a socket's path has 107 bytes: outside the test's own folder."""
    return Path(f"/tmp/vt-{uuid.uuid5(uuid.NAMESPACE_URL, str(host.folder)).hex[:12]}/socket")


def configure(site: Site, host: Host, daemon: Mapping[str, Any] | None = None, **profile: Any) -> None:
    """The site's profile, and a daemon that listens on the host's own socket."""
    listening = {"listen": f"unix:{socket_of(host)}"} | dict(daemon or {})
    site.configure(host, **profile)
    text = host.config_file.read_text()
    host.config_file.write_text(toml({"daemon": listening}) + text)
