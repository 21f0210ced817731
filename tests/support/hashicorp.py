"""A server in HashiCorp's words: a proxy before a real `bao` that answers as Vault 2.1.0-beta1 does.

    with DevServer() as bao, Hashicorp(bao) as vault:
        vault.rate_limited(3)
        ...  # a client of vault.address, or with vault.env in its environment
        assert vault.seen[0].headers["x-vault-request"] == "true"

hashicorp_words.py is the table of what differs. It is not HashiCorp's server: what is in no row of
tests/contract/server_answers.json answers as OpenBao does.
"""

import http.client
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.bao import Server
from tests.support.hashicorp_words import AFTER, BEFORE, Answer, Asked, Headers, refusal
from tests.support.process import free_port

# Of one connection only, or made anew.
OWN = {"connection", "keep-alive", "content-length", "transfer-encoding", "te", "expect"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One call as the client sent it; header names in lower case. Tokens are in it: print none."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Misbehaviour:
    """What the next calls of some paths get instead of their answer."""

    status: int
    body: Mapping[str, Any]
    times: int | None
    path: str
    headers: Mapping[str, str]
    processed: bool


class Hashicorp(Server):
    """What clients need of a server is the proxy's: `address`, `env`, `cli`. What a test does as root (`api`,
    `new_kv`, `token_for`, `requests_seen` …) goes to the real server, past every misbehaviour.
    """

    def __init__(self, real: Server) -> None:
        self.real = real
        self.folder = real.folder
        self.scheme = "http"
        self.port = free_port()
        self.root_token, self.unseal_key = real.root_token, real.unseal_key
        self.ca_file = None
        self.redacted = False  # no version and no cluster's name in what anybody may read
        self.seen: list[Heard] = []
        self._misbehaviours: list[Misbehaviour] = []
        self._lock = threading.Lock()
        self._proxy: _Proxy | None = None

    # -- its life; the real server's is not touched

    def start(self) -> None:
        self._proxy = _Proxy(self)
        threading.Thread(target=self._proxy.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if self._proxy:
            self._proxy.end()
            self._proxy = None

    def stop(self) -> None:
        self.real.stop()

    def kill(self) -> None:
        self.real.kill()

    @property
    def running(self) -> bool:
        return self.real.running

    @property
    def pids(self) -> set[int]:
        return self.real.pids

    def api(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        namespace: str | None = None,  # noqa: ARG002 - this server ignores it
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> tuple[int, dict[str, Any]]:
        """The real server's, past the proxy; `ask` is the one that goes through it."""
        return self.real.api(method, path, body, token, None, headers, timeout)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> tuple[int, Any]:
        """As a client: through the proxy. Takes what `api` takes."""
        return super().api(method, path, body, **how)

    # -- misbehaviour

    def answers(
        self,
        status: int,
        errors: Sequence[str] = (),
        *,
        times: int | None = 1,
        path: str = "*",
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        processed: bool = False,
    ) -> None:
        """The next calls of a path (`auth/*`, a pattern) get this; `times=None`: all, until `behave()`.

        In an error `{path}` stands for the call's own path. `body` is for answers that are no list of errors, and
        `processed` means that the real server did what was asked before its answer was lost.
        """
        said = {"errors": list(errors)} if body is None else body
        made = Misbehaviour(status, said, times, path, dict(headers or {}), processed)
        with self._lock:
            self._misbehaviours.append(made)

    def rate_limited(self, n: int | None, retry_after: float | str | None = None, path: str = "*") -> None:
        """The next n calls are over a quota; without Retry-After unless one is given, as it is by default."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        said = 'request path "{path}": rate limit quota exceeded'
        self.answers(429, [said], times=n, path=path, headers=headers)

    def behave(self) -> None:
        """Nothing of the above any more, and nothing seen."""
        with self._lock:
            self._misbehaviours.clear()
            self.seen = []
            self.redacted = False

    # -- what the calls do

    def answer(self, asked: Asked) -> Answer:
        """OSError and HTTPException where the real server is away."""
        heard = Heard(asked.method, asked.path, {name.lower(): value for name, value in asked.headers})
        with self._lock:
            self.seen.append(heard)
            wrong = next((one for one in self._misbehaviours if fnmatchcase(asked.path, one.path)), None)
            if wrong and wrong.times is not None:
                wrong.times -= 1
                if not wrong.times:
                    self._misbehaviours.remove(wrong)
        if wrong is None:
            return self._right(asked)
        if wrong.processed:
            self._right(asked)
        text = json.dumps(wrong.body).replace("{path}", asked.path)
        made = refusal(wrong.status)
        return Answer(wrong.status, made.headers + list(wrong.headers.items()), text.encode())

    def _right(self, asked: Asked) -> Answer:
        for look in BEFORE:
            if (made := look(asked)) is not None:
                return made
        answer = self._forwarded(asked)
        for change in AFTER:
            change(asked, answer)
        if self.redacted and asked.path in {"sys/health", "sys/seal-status"} and "version" in answer.json:
            nameless = {name: "" for name in ("version", "build_date", "cluster_name") if name in answer.json}
            answer.becomes(answer.status, answer.json | nameless)
        return answer

    def _forwarded(self, asked: Asked) -> Answer:
        real = urlsplit(self.real.address)
        connection = http.client.HTTPConnection(real.netloc, timeout=120)
        try:
            path = f"/v1/{asked.path}" + (f"?{asked.query}" if asked.query else "")
            given_host = bool(asked.header("Host"))
            connection.putrequest(asked.method, path, skip_host=given_host, skip_accept_encoding=True)
            for name, value in asked.headers:
                if name.lower() not in OWN:
                    connection.putheader(name, value)
            if asked.body or asked.method in {"POST", "PUT", "PATCH"}:
                connection.putheader("Content-Length", str(len(asked.body)))
            # A server that has read enough of a body answers before its end.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(asked.body or None)
            back = connection.getresponse()
            return Answer(back.status, back.getheaders(), back.read())
        finally:
            connection.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, hashicorp: Hashicorp) -> None:
        self.hashicorp = hashicorp
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", hashicorp.port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        path, _, query = self.path.removeprefix("/v1/").partition("?")
        try:
            asked = Asked(self.command, path, query, self.headers.items(), self._body())
            answer = self.server.hashicorp.answer(asked)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # hung up on, as by a server that has just died
            return
        self._send(answer)

    do_GET = do_HEAD = do_LIST = do_SCAN = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _forward

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def _send(self, answer: Answer) -> None:
        """With the real server's own headers, `Date` among them, and in pieces where it sent pieces."""
        named: Headers = [(name.lower(), value) for name, value in answer.headers]
        pieces = ("transfer-encoding", "chunked") in named
        bodiless = self.command == "HEAD" or answer.status in {204, 304}
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in OWN:
                self.send_header(name, value)
        if "date" not in dict(named):
            self.send_header("Date", formatdate(usegmt=True))
        if self.command == "HEAD" and "content-length" in dict(named):
            self.send_header("Content-Length", dict(named)["content-length"])
        elif pieces and not bodiless:
            self.send_header("Transfer-Encoding", "chunked")
        elif not bodiless:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if bodiless:
            return
        if pieces:
            for start in range(0, len(answer.body), 65536):
                piece = answer.body[start : start + 65536]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Says nothing: what happened is in `seen`."""
