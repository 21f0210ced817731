"""A server that clients talk to: it answers only who shows a living access token."""

import base64
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs

from tests.support.emulator import Emulator
from tests.support.tls import Certificate


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    open: bool = False  # for anybody
    # For a token in a form's field instead of a header: its name.
    token_field: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    path: str
    scheme: str  # of the Authorization header; with an AWS signature the token is in a header of its own
    user: str  # of a Basic header
    token: str
    status: int


class Guarded:
    """`find` gives the page of a path, without its query."""

    def __init__(
        self, api: Emulator, find: Callable[[str], Page | None], *, basic: bool = False, tls: Certificate | None = None
    ) -> None:
        self.api, self.find = api, find
        self.challenge = 'Basic realm="test"' if basic else "Bearer"
        self.seen: list[Seen] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.cert, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def admitted(self) -> list[Seen]:
        return [one for one in self.seen if one.status == 200 and one.token]


def _handler(server: Guarded) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("")

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())

        def _serve(self, body: str) -> None:
            path = self.path.partition("?")[0]
            page = server.find(path)
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            user = ""
            if scheme == "Basic":
                user, _, token = base64.b64decode(token).decode().partition(":")
            token = self.headers.get("X-Amz-Security-Token") or token
            if page and page.token_field:
                token = parse_qs(body).get(page.token_field, [""])[0]
            status = 404 if page is None else 200
            if page and not page.open and not server.api.access_alive(token):
                status = 401
            server.seen.append(Seen(path, scheme, user, token, status))
            answer = page.body if page and status == 200 else b""
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", server.challenge)
            if page and status == 200:
                self.send_header("Content-Type", page.kind)
                for name, value in page.headers.items():
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """What was asked is in `seen`."""

    return Handler
