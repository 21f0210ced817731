"""The Ticket API's emulator: a real HTTP server on loopback that behaves, and misbehaves, as it is told.

    with Emulator() as api:
        token = api.issue_grant("client-1")
        api.behaviour.rotate = False
        api.behaviour.next.append(faults.busy(retry_after=3))
        ...
        assert api.stats().refreshes == 1

or as a process, told by `POST /_control` what `Emulator.control` takes and asked by `GET /_stats`:
`python -m tests.support.emulator`; its first line is its URL.
"""

import argparse
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.support.faults import Fault
from tests.support.grants import Counts, Grants, OAuthError, Policy
from tests.support.http_server import EndableServer
from tests.support.process import free_port


@dataclass(slots=True)
class Behaviour(Policy):
    """May be changed while the server runs."""

    delay: float = 0.0  # seconds between spending and answering
    delay_before: float = 0.0  # seconds between the request and spending
    next: list[Fault] = field(default_factory=list)  # each is used up by one request to /token


@dataclass(slots=True)
class Event:
    time: float
    what: str  # refreshed, rejected, answered, fault, revoked, tickets
    detail: str
    token: str  # the first characters of the presented token's SHA-256


@dataclass(slots=True)
class Stats(Counts):
    requests: int = 0  # to /token
    successes: int = 0  # right answers, sent unharmed
    faults: int = 0
    tickets_ok: int = 0  # calls of the protected API
    tickets_denied: int = 0
    in_flight: int = 0  # requests to /token that are not answered yet
    max_in_flight: int = 0
    events: list[Event] = field(default_factory=list)


class Emulator:
    """`stop()` and `start()` take it down and up again on the same port; what it knows of grants stays."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        port: int = 0,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.grants = Grants(self.behaviour)
        self.port = port or free_port()
        self._tls = _tls(cert, key) if cert else None
        self._server: _Server | None = None
        self._seen = Stats()
        self._lock = threading.Lock()
        self._may_answer = threading.Event()
        self._may_answer.set()
        self.url = f"{'https' if cert else 'http'}://127.0.0.1:{self.port}"
        self.token_url = f"{self.url}/token"
        self.revoke_url = f"{self.url}/revoke"
        self.tickets_url = f"{self.url}/tickets"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._server = _Server(self, self._tls)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Ends it and every open connection: from now on it refuses."""
        if self._server:
            self._server.end()
            self._server = None

    # -- what a person or a test does

    @contextmanager
    def holding(self) -> Iterator[None]:
        """No answer of /token leaves meanwhile: tokens are spent, and their callers wait."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def issue_grant(self, client_id: str = "client-1") -> str:
        """A new refresh token, as a person makes one in the settings."""
        return self.grants.issue(client_id)

    def revoke(self, token: str) -> None:
        """A person withdraws a grant: the family of this refresh token dies."""
        self.grants.revoke(token)

    def refresh_current(self, token: str) -> bool:
        """Whether this refresh token is alive and its family's newest."""
        return self.grants.refresh_alive(token)

    def access_alive(self, token: str) -> bool:
        """Whether the protected API takes this access token now."""
        return self.grants.access_alive(token)

    def newest(self, token: str) -> str:
        """The refresh token that this one's family has come to."""
        return self.grants.newest(token)

    def stats(self) -> Stats:
        """A copy of all counts."""
        with self._lock:
            known = asdict(self._seen) | asdict(self.grants.counts)
            return Stats(**known | {"events": list(self._seen.events)})

    def control(self, wish: dict[str, Any]) -> dict[str, Any]:
        """`{"behaviour": {"rotate": false, "next": [{"kind": "reset"}]}, "issue_grant": "client-1", "revoke": "…"}`."""
        changes = dict(wish.get("behaviour", {}))
        if "next" in changes:
            changes["next"] = [Fault(**one) for one in changes["next"]]
        for name, value in changes.items():
            setattr(self.behaviour, name, value)
        if "revoke" in wish:
            self.revoke(wish["revoke"])
        return {"refresh_token": self.issue_grant(wish["issue_grant"])} if "issue_grant" in wish else {}

    # -- what the requests do

    def wait_until_it_may_answer(self) -> None:
        self._may_answer.wait(60)

    def take_fault(self) -> Fault | None:
        with self._lock:
            return self.behaviour.next.pop(0) if self.behaviour.next else None

    def note(self, what: str, detail: str = "", token: str = "", **counts: int) -> None:
        mark = hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""
        with self._lock:
            self._seen.events.append(Event(time.time(), what, detail, mark))
            for name, more in counts.items():
                setattr(self._seen, name, getattr(self._seen, name) + more)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._seen.requests += 1
            self._seen.in_flight += 1
            self._seen.max_in_flight = max(self._seen.max_in_flight, self._seen.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._seen.in_flight -= 1


class _Server(EndableServer):
    def __init__(self, emulator: Emulator, tls: ssl.SSLContext | None) -> None:
        self.emulator = emulator
        self.stopping = threading.Event()
        super().__init__(emulator.port, _Handler, tls)

    def end(self) -> None:
        self.stopping.set()
        super().end()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/token":
            with self.server.emulator.counted():
                self._token(body)
        elif self.path == "/revoke":
            self.server.emulator.grants.revoke(_form(body).get("token", ""))
            self.server.emulator.note("revoked", token=_form(body).get("token", ""))
            self._answer({})
        elif self.path == "/_control":
            self._answer(self.server.emulator.control(json.loads(body)))
        else:
            self._send(404, b"")

    def do_GET(self) -> None:
        emulator = self.server.emulator
        if self.path == "/_stats":
            self._answer(asdict(emulator.stats()))
        elif self.path == "/tickets":
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme == "Bearer" and emulator.grants.access_alive(token):
                emulator.note("tickets", token=token, tickets_ok=1)
                self._answer({"tickets": [{"id": 1, "subject": "It works"}]})
            else:
                emulator.note("tickets", "denied", token, tickets_denied=1)
                self._send(401, b"", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        else:
            self._send(404, b"")

    def _token(self, body: bytes) -> None:
        emulator, behaviour = self.server.emulator, self.server.emulator.behaviour
        form, fault = _form(body), emulator.take_fault()
        presented = form.get("refresh_token", "")
        if fault:
            emulator.note("fault", fault.kind, presented, faults=1)
        self.server.stopping.wait(behaviour.delay_before)
        status, answer = 200, {"access_token": "not-processed", "token_type": "bearer"}
        if fault is None or fault.processed:
            try:
                if self.headers.get_content_type() != "application/x-www-form-urlencoded":
                    raise OAuthError("invalid_request", "the body must be form-encoded")
                answer = emulator.grants.refresh(form)
                emulator.note("refreshed", token=presented)
            except OAuthError as e:
                status, answer = e.status, {"error": e.code, "error_description": e.description}
                emulator.note("rejected", e.code, presented)
        self.server.stopping.wait(behaviour.delay + (fault.delay if fault else 0))
        emulator.wait_until_it_may_answer()
        if fault:
            self._misbehave(fault, status, answer)
            return
        emulator.note("answered", str(status), presented, successes=int(status == 200))
        self._answer(answer, status)

    def _misbehave(self, fault: Fault, status: int, answer: dict[str, Any]) -> None:
        if fault.kind == "reset":
            self._reset()
            return
        if fault.kind == "status":
            self._send(fault.status, (fault.body or "").encode(), fault.headers)
            return
        right = {k: v for k, v in (answer | fault.changes).items() if k not in fault.without}
        body = b" " * fault.padding + json.dumps(right).encode()
        if fault.kind == "answer":
            self._send(status, body, {"Content-Type": "application/json"} | fault.headers)
            return
        self.close_connection = True
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
        if fault.kind == "cut":
            self.wfile.write(head + b"\r\n" + body[: len(body) // 2])
        elif fault.kind == "drip_body":
            self.wfile.write(head + b"\r\n")
            self._drip(body, fault.interval)
        elif fault.kind == "drip_headers":
            self._drip(head + b"X-Slow: " + b"-" * 3600, fault.interval)
        else:
            raise ValueError(f"no such fault: {fault.kind}")

    def _drip(self, data: bytes, interval: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(interval):
                return

    def _reset(self) -> None:
        """Closed at once and unsent: the other side gets a reset, not an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket(fileno=self.connection.detach()).close()

    def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            **(headers or {}),
            "Cache-Control": "no-store",
            "Content-Length": len(body),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: what happened is in the events."""


def _form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(cert), str(key) if key else None)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.emulator")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert", type=Path, help="serve HTTPS with this certificate (PEM)")
    parser.add_argument("--key", type=Path)
    asked = parser.parse_args()
    with Emulator(port=asked.port, cert=asked.cert, key=asked.key) as emulator, suppress(KeyboardInterrupt):
        print(emulator.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
