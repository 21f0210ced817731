"""The real server over real sockets, with a keeper whose tickets are made up."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.daemon.http_api import access
from vault_ticket_plugin.daemon.http_api.app import HttpApi
from vault_ticket_plugin.daemon.http_api.server import Server
from vault_ticket_plugin.daemon.http_api.sockets import listen
from vault_ticket_plugin.daemon.keeper import Change, Keeper
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.profile import Allow, Profile

LIFETIME = 2 * 86400.0
GOOD, OTHER = "hvs.good-for-support", "hvs.good-for-nothing"

Issue = Callable[[str, Demand, Deadline], LiveTicket]


class SourceOf:
    """`TicketSource` (ports.py): what a function gives."""

    def __init__(self, issue: Issue) -> None:
        self.issue = issue

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        return self.issue(profile, demand, deadline)


class ShiftedClock(Clock):
    """This host's clock, moved on where a test says so."""

    def __init__(self) -> None:
        self.shift = 0.0

    def wall(self) -> float:
        return super().wall() + self.shift

    def monotonic(self) -> float:
        return super().monotonic() + self.shift


def access_token(name: str) -> str:
    return f"access-token-of-{name}"


def issue_at_once(clock: Clock = HOST_CLOCK) -> Issue:
    def issue(name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        now = clock.wall()
        return LiveTicket.at(Ticket(Secret(access_token(name)), "Bearer", now, now + LIFETIME), now, clock.monotonic())

    return issue


def check_by_name(token: Secret, location: Any, _until: Deadline) -> access.Caller | None:
    """What Vault would say of two tokens: one may read `support`'s ticket, the other nothing."""
    return access.Caller("token-good") if token == Secret(GOOD) and "support" in str(location) else None


def profile(name: str, allow: Allow | None = None) -> Profile:
    standard = Profile.standard(name)
    return Profile(name, standard.grant, standard.ticket, allow=allow or Allow())


@dataclass(slots=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Serving:
    """`with Serving(folder) as it`: listens on a unix socket in the folder and on a loopback port."""

    folder: Path
    profiles: Mapping[str, Profile] = field(default_factory=lambda: {"support": profile("support")})
    issue: Issue | None = None
    check: access.Check | None = check_by_name
    rate: float = 1_000_000.0
    clock: Clock = field(default_factory=ShiftedClock)
    mode: int = 0o666
    patience: float = 20.0
    warm: bool = True
    told: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.keeper = Keeper(2, self.clock, self.changes.append)
        known = {name: (one, name) for name, one in self.profiles.items()}
        self.keeper.replace(known, SourceOf(self.issue or issue_at_once(self.clock)))
        if self.warm:
            for name in self.profiles:
                self.keeper.look_after(name)
        self.web = HttpApi(
            self.keeper,
            self.told.append,
            lambda: b"# no metrics here\n",
            check=self.check,
            rate=self.rate,
            clock=self.clock,
            patience=self.patience,
        )
        self.path = self.folder / "run" / "socket"
        unix = listen(Listener(path=str(self.path)), self.mode)
        tcp = listen(Listener(host="127.0.0.1"), self.mode)
        self.port = tcp.listener.port
        self.server = Server(self.web, [unix, tcp])
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(2.0)

    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self.server._uvicorn.server_state.tasks)

    # -- clients

    def unix(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def get(self, path: str, *, tcp: bool = False, method: str = "GET", **headers: str) -> HttpResponse:
        """One request over a connection of its own; `X_Vault_Token=…` names a header."""
        return exchange(self.tcp() if tcp else self.unix(), path, method, headers)

    def ticket(self, token: str = GOOD, name: str = "support") -> HttpResponse:
        return self.get(f"/v1/tickets/{name}", tcp=True, X_Vault_Token=token)


def exchange(client: socket.socket, path: str, method: str, headers: Mapping[str, str]) -> HttpResponse:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = client
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        return HttpResponse(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def raw(client: socket.socket, sent: bytes) -> bytes:
    """Sends as much as the server takes; all that it answers until it closes."""
    with contextlib.suppress(OSError):
        client.sendall(sent)
    return rest(client)


def rest(client: socket.socket) -> bytes:
    found = b""
    with client:
        while True:
            try:
                more = client.recv(65536)
            except ConnectionError:
                return found
            if not more:
                return found
            found += more


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
