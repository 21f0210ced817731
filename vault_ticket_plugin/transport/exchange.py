"""One HTTP exchange with a hard end: no redirect, no cookie, no .netrc, a bounded answer, a total deadline.

urllib3's own timeouts bound each read, not the whole; a server that drips a byte a second would hold a caller
for hours. Here a watchdog closes the socket when the deadline passes, wherever the exchange is. And we know
whether anything was sent, which decides whether a refresh token may have been spent.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.settings.vault import Tls
from vault_ticket_plugin.transport import proxy
from vault_ticket_plugin.transport.tls import pool_options
from vault_ticket_plugin.transport.watchdog import WATCHDOG

# A connection that does not come up in this time is better tried again (a lost SYN is sent again after 1 s and 3 s).
CONNECT_SECONDS = 5.0
# An answer of either server is a few KiB. RFC 6749 names no bound; this one is generous.
MAX_ANSWER_BYTES = 1 << 20
# Connections to one server that are kept; more are made where more threads ask at once.
KEPT = 10


class NotSent(Exception):
    """The request never reached the server: name, connection, TLS handshake. The text is one short reason."""


class Interrupted(Exception):
    """The request was sent, or may have been, and no whole answer came. The text is one short reason."""


class HttpResponse(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Their names are lower case."""
    body: bytes

    def __repr__(self) -> str:
        return f"HttpResponse({self.status})"


class Transport:
    """Exchanges over kept-alive connections; safe to use from several threads."""

    def __init__(self, tls: Tls | None = None, unix_socket: str | None = None) -> None:
        self._tls = tls or Tls()
        self._unix = unix_socket is not None
        self._pools = {"http": _unix_pool(unix_socket) if unix_socket else _PlainPool, "https": _SecurePool}
        self._managers: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
        read_seconds: float,
        send_by: Deadline | None = None,
    ) -> HttpResponse:
        """One request and its whole answer, whatever its status.

        `read_seconds`: the longest silence to bear. `send_by`: when it must have left, if sooner than the deadline.
        NotSent and Interrupted as their names say.
        """
        manager = self._manager(url)
        send_by = send_by or deadline
        current = _Exchange(send_by, deadline)

        with current.watched():
            try:
                if any(letter in value for value in headers.values() for letter in "\r\n"):
                    raise ValueError("a line break would begin another header")
                response = manager.urlopen(
                    method,
                    url,
                    headers=headers,
                    body=body,
                    timeout=urllib3.Timeout(
                        connect=min(CONNECT_SECONDS, send_by.left()) or 0.001,
                        read=min(read_seconds, deadline.left()) or 0.001,
                    ),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                with contextlib.closing(response):
                    content = response.read(MAX_ANSWER_BYTES + 1, decode_content=True)
                    if len(content) <= MAX_ANSWER_BYTES:
                        # Reads the end of the body, so that the connection can be used again, and finds a cut one.
                        content += response.read(1)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                late = current.cut or deadline.passed() or (not current.sent and send_by.passed())
                reason = "it took too long" if late else reason_of(error)
                raise (Interrupted if current.sent else NotSent)(reason) from None

            if not _is_sized(response):  # one that is has been found whole, however late
                if current.cut:
                    raise Interrupted("it took too long")
                if not content and not _ends_with_connection(response):
                    raise Interrupted("the connection broke")  # cut in its head: http.client takes that for the whole
        return HttpResponse(
            response.status, {name.lower(): value for name, value in response.headers.itermerged()}, content
        )

    def descriptors(self) -> list[int]:
        """Those of the connections that are kept, none of which is in use."""
        with self._lock:
            # These pools can't be iterated over, for their users' threads' sake.
            pools = [manager.pools[key] for manager in self._managers.values() for key in manager.pools.keys()]  # noqa: SIM118
        kept: list[Any] = [connection for pool in pools if pool.pool for connection in list(pool.pool.queue)]
        return [one.sock.fileno() for one in kept if one is not None and one.sock is not None]

    def close(self) -> None:
        """Not for good: the next exchange makes a new connection."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        """NotSent if a proxy is named that can't be used, ConfigError if the TLS files can't."""
        scheme = urlsplit(url).scheme
        try:
            via = None if self._unix else proxy.on_the_way(url)
            with self._lock:
                found = self._managers.get((scheme, via))
                if found is None:
                    how = {"maxsize": KEPT, **(pool_options(self._tls) if scheme == "https" else {})}
                    found = urllib3.PoolManager(**how) if via is None else proxy.manager(via, how)
                    found.pool_classes_by_scheme = self._pools
                    self._managers[scheme, via] = found
        except ValueError:
            raise NotSent("the proxy's address can't be used") from None
        return found


class _Exchange:
    """What the watchdog and the connection know of one exchange in the current thread."""

    __slots__ = ("cut", "deadline", "send_by", "sent", "socket")

    def __init__(self, send_by: Deadline, deadline: Deadline) -> None:
        self.send_by = send_by
        self.deadline = deadline
        self.sent = False
        self.cut = False
        self.socket: socket.socket | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        _current.exchange = self
        try:
            with WATCHDOG.watch(self.deadline.left(), self._end):
                yield
        finally:
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
            exchange.sent = False  # what a proxy was asked to connect us is not the request

    def _new_conn(self) -> socket.socket:
        exchange: _Exchange = _current.exchange
        exchange.socket = super()._new_conn()  # type: ignore[misc]
        return exchange.socket

    def send(self, data: Any) -> None:
        exchange: _Exchange = _current.exchange
        if self.sock is None:
            self.connect()
        if exchange.send_by.passed():
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


def _is_sized(response: urllib3.BaseHTTPResponse) -> bool:
    """RFC 9112 section 6.3; http.client and urllib3 raise where less comes than is said."""
    return "content-length" in response.headers or response.chunked or response.status in (204, 304)


def _ends_with_connection(response: urllib3.BaseHTTPResponse) -> bool:
    """RFC 9112 section 9.3."""
    return response.version == 10 or "close" in response.headers.get("connection", "").lower()


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
    if any(isinstance(one, ValueError) for one in seen):
        return "no request can be made of that"
    return "the connection broke"
