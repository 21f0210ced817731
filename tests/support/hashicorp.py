"""A server in HashiCorp's words: a proxy before a real `bao` that answers as Vault 2.1.0-beta1 does.

    with DevServer() as bao, Hashicorp(bao) as vault:
        vault.rate_limited(3)
        ...  # a client of vault.address, or with vault.env in its environment
        assert vault.seen[0].headers["x-vault-request"] == "true"

hashicorp_words.py is the table of what differs. It is not HashiCorp's server: what is in no row of
tests/contract/server_answers.json answers as OpenBao does. A client's TLS certificate gets no further than here.
"""

import http.client
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from tests.support.bao import Server
from tests.support.hashicorp_wire import OWN, Proxy
from tests.support.hashicorp_words import AFTER, BEFORE, Answer, Asked, refusal
from tests.support.process import free_port


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
    method: str | None

    def fits(self, asked: Asked) -> bool:
        return fnmatchcase(asked.path, self.path) and self.method in (None, asked.method)


class Hashicorp(Server):
    """What clients need of a server is the proxy's: `address`, `env`, `cli`. What a test does as root (`api`,
    `new_kv`, `token_for`, `requests_seen` …) goes to the real server, past every misbehaviour.
    """

    def __init__(self, real: Server) -> None:
        self.real = real
        self.folder = real.folder
        self.scheme = real.scheme
        self.port = free_port()
        self.root_token, self.unseal_key = real.root_token, real.unseal_key
        self.ca_file = real.ca_file
        self.audit_log = real.audit_log
        self.redacted = False  # no version and no cluster's name in what anybody may read
        self.seen: list[Heard] = []
        self._misbehaviours: list[Misbehaviour] = []
        self._lock = threading.Lock()
        self._proxy: Proxy | None = None

    # -- its life; the real server's is not touched

    def start(self) -> None:
        self._proxy = Proxy(self.port, self.answer, self._certificate())
        threading.Thread(target=self._proxy.serve_forever, args=(0.02,), daemon=True).start()

    def _certificate(self) -> ssl.SSLContext | None:
        """Over HTTPS it shows what a dev server made for itself."""
        if self.scheme == "http":
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "vault-cert.pem", self.folder / "vault-key.pem")
        return context

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

    def has_namespaces(self) -> bool:
        return False

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
        method: str | None = None,
    ) -> None:
        """The next calls of a path (`auth/*`, a pattern) get this; `times=None`: all, until `behave()`.

        In an error `{path}` stands for the call's own path. `body` is for answers that are no list of errors, and
        `processed` means that the real server did what was asked before its answer was lost. `method`: these alone.
        """
        said = {"errors": list(errors)} if body is None else body
        made = Misbehaviour(status, said, times, path, dict(headers or {}), processed, method)
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
            wrong = next((one for one in self._misbehaviours if one.fits(asked)), None)
            if wrong and wrong.times is not None:
                wrong.times -= 1
                if not wrong.times:
                    self._misbehaviours.remove(wrong)
        if wrong is None:
            return self._right(asked)
        if wrong.processed:
            self._right(asked)
        made = refusal(wrong.status)
        made.headers.extend(wrong.headers.items())
        made.becomes(wrong.status, json.loads(json.dumps(wrong.body).replace("{path}", asked.path)))
        return made

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
        connection = (
            http.client.HTTPSConnection(real.netloc, timeout=120, context=self._trust())
            if self.scheme == "https"
            else http.client.HTTPConnection(real.netloc, timeout=120)
        )
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
