"""One HTTP exchange with a hard end: no redirect, no cookie, no .netrc, a bounded answer, a total deadline.

requests' own timeouts bound each read, not the whole; a server that drips a byte a second would hold a caller
for hours. Here a watchdog closes the socket when the deadline passes, wherever the exchange is. And we know
whether anything was sent, which decides whether a refresh token may have been spent.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings import Tls, is_loopback

# A connection that does not come up in this time is better tried again (a lost SYN is sent again after 1 s and 3 s).
CONNECT_SECONDS = 5.0
# An answer of either server is a few KiB. RFC 6749 names no bound; this one is generous.
LARGEST_ANSWER = 1 << 20


class NotSent(Exception):
    """The request never reached the server: name, connection, TLS handshake. The text is one short reason."""


class Interrupted(Exception):
    """The request was sent, or may have been, and no whole answer came. The text is one short reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport:
    """Exchanges over kept-alive connections; safe to use from several threads."""

    def __init__(self, tls: Tls | None = None, unix_socket: str | None = None) -> None:
        self._adapter = _Adapter(tls or Tls(), unix_socket)
        self._unix = unix_socket is not None

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: Deadline,
        read_seconds: float,
    ) -> Reply:
        """One request and its whole answer, whatever its status.

        `read_seconds`: the longest silence to bear. NotSent and Interrupted as their names say.
        """
        proxies = {} if self._unix or is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)
        current = _Exchange(until)
        with current.watched():
            try:
                request = requests.Request(method, url, headers=dict(headers), data=body).prepare()
                response = self._adapter.send(
                    request,
                    stream=True,
                    timeout=(
                        min(CONNECT_SECONDS, until.left()) or 0.001,
                        min(read_seconds, until.left()) or 0.001,
                    ),
                    proxies=proxies,
                )
                with response:
                    content = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
                    if len(content) <= LARGEST_ANSWER:
                        # Reads the end of the body, so that the connection can be used again, and finds a cut one.
                        content += response.raw.read(1)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                reason = "it took too long" if current.cut or until.passed() else reason_of(error)
                raise (Interrupted if current.sent else NotSent)(reason) from None
            if not _is_sized(response):  # one that is has been found whole, however late
                if current.cut:
                    raise Interrupted("it took too long")
                if not content and not _ends_with_connection(response):
                    raise Interrupted("the connection broke")  # cut in its head: http.client takes that for the whole
        return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)

    def close(self) -> None:
        self._adapter.close()


class _Exchange:
    """What the watchdog and the connection know of one exchange in the current thread."""

    __slots__ = ("cut", "sent", "socket", "until")

    def __init__(self, until: Deadline) -> None:
        self.until = until
        self.sent = False
        self.cut = False
        self.socket: socket.socket | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        watchdog = threading.Timer(self.until.left(), self._end)
        watchdog.daemon = True
        watchdog.start()
        _current.exchange = self
        try:
            yield
        finally:
            watchdog.cancel()
            _current.exchange = None

    def _end(self) -> None:
        self.cut = True
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # The plain socket's own shutdown: an SSLSocket's would change state that the reader is using.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


_current = threading.local()


class _Bounded:
    """What both kinds of connection add: tell the exchange its socket, and when something is being sent."""

    sock: Any

    def connect(self) -> None:
        exchange: _Exchange = _current.exchange
        try:
            super().connect()  # type: ignore[misc]
        finally:
            exchange.sent = False  # what a proxy was told to connect us is not the request

    def _new_conn(self) -> socket.socket:
        exchange: _Exchange = _current.exchange
        exchange.socket = super()._new_conn()  # type: ignore[misc]
        return exchange.socket

    def send(self, data: Any) -> None:
        exchange: _Exchange = _current.exchange
        if self.sock is None:
            self.connect()
        if exchange.until.passed():
            raise TimeoutError("it took too long")
        exchange.socket = self.sock
        exchange.sent = True
        super().send(data)  # type: ignore[misc]


class _Plain(_Bounded, HTTPConnection):
    pass


class _Secure(_Bounded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


def _unix_pool(path: str) -> type[HTTPConnectionPool]:
    class Connection(_Plain):
        def _new_conn(self) -> socket.socket:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(CONNECT_SECONDS)
            try:
                made.connect(path)
            except BaseException:
                made.close()
                raise
            return made

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


class _Adapter(HTTPAdapter):
    """requests' adapter with our connections and one TLS context for all of them."""

    def __init__(self, tls: Tls, unix_socket: str | None) -> None:
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._pools = {
            "http": _unix_pool(unix_socket) if unix_socket else _PlainPool,
            "https": _SecurePool,
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The TLS context decides, and was made with all there is to know."""

    def build_connection_pool_key_attributes(  # type: ignore[override]
        self, request: requests.PreparedRequest, *_: Any, **__: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        parts = urlsplit(request.url or "")
        host = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
        if parts.scheme != "https":
            return host, {}
        if self._context is None:
            self._context = tls_context(self._tls)
        pool: dict[str, Any] = {"ssl_context": self._context}
        if self._tls.server_name:
            pool["server_hostname"] = self._tls.server_name
        if not self._tls.verify:
            pool |= {"assert_hostname": False}
        return host, pool


def _is_sized(response: requests.Response) -> bool:
    """RFC 9112 section 6.3; http.client and urllib3 raise where less comes than is said."""
    return "content-length" in response.headers or response.raw.chunked or response.status_code in (204, 304)


def _ends_with_connection(response: requests.Response) -> bool:
    """RFC 9112 section 9.3."""
    return response.raw.version == 10 or "close" in response.headers.get("connection", "").lower()


def tls_context(tls: Tls) -> ssl.SSLContext:
    """ConfigError where the files that it names can't be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file, capath=tls.ca_path)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.client_cert:
            context.load_cert_chain(tls.client_cert, tls.client_key)
    except OSError as error:  # ssl.SSLError among them
        files = ", ".join(path for path in (tls.ca_file, tls.ca_path, tls.client_cert, tls.client_key) if path)
        raise ConfigError(f"the TLS files can't be used ({error.strerror or error}): {files}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # It is what the configuration says in so many words; standard error is not the place to repeat it each time.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context


def reason_of(error: BaseException) -> str:
    """The innermost cause in a few words. Never an exception's whole text: it may quote a proxy's password."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            queue += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
    for one in reversed(seen):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({getattr(one, 'verify_message', 'no reason given')})"
        if isinstance(one, ssl.SSLError):
            reason = getattr(one, "reason", None) or "no reason given"
            return f"TLS failed ({reason.lower().replace('_', ' ')})"
        if isinstance(one, socket.gaierror):
            return "its host name is not known"
        if isinstance(one, TimeoutError | urllib3.exceptions.TimeoutError):
            return "no answer in time"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
    if any(isinstance(one, urllib3.exceptions.ProxyError) for one in seen):
        return "the proxy refused"
    if any(isinstance(one, requests.exceptions.InvalidProxyURL | requests.exceptions.InvalidSchema) for one in seen):
        return "the proxy's address can't be used"
    if any(isinstance(one, requests.exceptions.InvalidHeader | requests.exceptions.InvalidURL) for one in seen):
        return "no request can be made of that"
    return "the connection broke"
