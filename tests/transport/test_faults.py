"""Transport where things go wrong: deadlines, what was sent, errors of the libraries, TLS, where nothing may go."""

import gzip
import inspect
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from tests.support.process import free_port
from tests.support.tls import Certificate, loopback_certificate
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.environment import PROXY_NAMES
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.vault import Tls
from vault_ticket_plugin.transport import exchange as module
from vault_ticket_plugin.transport.exchange import MAX_ANSWER_BYTES, HttpResponse, Interrupted, NotSent, Transport

# Far above what a loaded machine needs for any of these, and far below the minutes that a drip would take.
GENEROUS = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[socket.socket], None]


class Server:
    """Reads requests on loopback, and does with each connection what the test wants.

    `requests`: what came, head and body; `connections`: how many there were.
    """

    def __init__(self, answer: bytes | Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._ended = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/x"

    def __enter__(self) -> "Server":
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection:
                while request := read_request(connection):
                    self.requests.append(request)
                    if isinstance(self._answer, bytes):
                        connection.sendall(self._answer)
                    else:
                        self._answer(connection)

    def drip(self, data: bytes) -> None:
        """From now on, answer a byte at a time."""

        def slowly(connection: socket.socket) -> None:
            for byte in data:
                connection.sendall(bytes([byte]))
                if self._ended.wait(0.1):
                    return

        self._answer = slowly


def read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece:
            return b""
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket(fileno=connection.detach()).close()


def then_close(data: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXY_NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@contextmanager
def transport(**how: Any) -> Iterator[Transport]:
    made = Transport(**how)
    try:
        yield made
    finally:
        made.close()


def exchange(
    via: Transport, url: str, within: float = GENEROUS, silence: float = GENEROUS, **headers: str
) -> HttpResponse:
    return via.exchange("POST", url, {"X-Test": "1", **headers}, b"a=b", Deadline.after(within), silence)


def post(url: str, within: float = GENEROUS, **how: Any) -> HttpResponse:
    with transport(**how) as via:
        return exchange(via, url, within)


# -- the deadline


@pytest.mark.parametrize("what", ["headers", "body", "chunks", "a body without an end"])
def test_a_drip_ends_with_the_deadline(what: str) -> None:
    """Each single read is quick; only the whole, some minutes of it, is not."""
    data = {
        "headers": b"HTTP/1.1 200 OK\r\nX-Slow: " + b"-" * 3600,
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 3600\r\n\r\n" + b"x" * 3600,
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3600,
        "a body without an end": b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 3600,
    }[what]
    with Server(b"") as server:
        server.drip(data)
        started = time.monotonic()
        with pytest.raises(Interrupted, match="took too long"):
            post(server.url, within=1.0)
        assert time.monotonic() - started < GENEROUS
        assert len(server.requests) == 1


def test_silence_is_borne_so_long_and_no_longer() -> None:
    with Server(lambda _: None) as server, transport() as via, pytest.raises(Interrupted, match="no answer in time"):
        exchange(via, server.url, silence=0.3)


def test_a_handshake_that_never_comes_has_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(NotSent, match=r"took too long|no answer in time"):
            post(f"https://127.0.0.1:{port}/", within=0.5)


def test_after_its_deadline_nothing_is_sent() -> None:
    with Server(OK) as server, transport() as via:
        with pytest.raises(NotSent):
            exchange(via, server.url, within=0.0)
        assert server.requests == []


def test_threads_have_deadlines_of_their_own() -> None:
    """Of three exchanges over one transport one is cut."""
    answering = threading.Event()
    found: list[object] = []

    def answer(connection: socket.socket) -> None:
        answering.wait(GENEROUS)
        connection.sendall(OK)

    def ask(within: float) -> None:
        try:
            found.append(exchange(via, server.url, within).body)
        except Interrupted as error:
            found.append(str(error))
            answering.set()

    with Server(answer) as server, transport() as via:
        threads = [threading.Thread(target=ask, args=(within,)) for within in (0.5, GENEROUS, GENEROUS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found, key=str) == [b"ok", b"ok", "it took too long"]


def test_threads_keep_the_connections_that_they_made() -> None:
    """As many as asked at once; what they ask later goes over the same ones."""
    together = threading.Barrier(3)

    def answer(connection: socket.socket) -> None:
        together.wait(GENEROUS)
        connection.sendall(OK)

    with Server(answer) as server, transport() as via:
        for _ in range(3):
            threads = [threading.Thread(target=exchange, args=(via, server.url)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert (len(server.requests), server.connections) == (9, 3)


# -- sent or not


def test_what_was_never_sent_is_known(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="connection refused"):
        post(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(NotSent, match="host name is not known"):
        post("http://nosuch.invalid/")
    with pytest.raises(NotSent, match="no such file"):
        post("http://localhost/", unix_socket=str(tmp_path / "nosuch"))


@pytest.mark.parametrize("doing", [reset, then_close(b"HTTP/1.1 400 What?\r\n\r\n")], ids=["reset", "no TLS"])
def test_a_handshake_that_fails_has_sent_nothing(doing: Answer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                doing(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotSent, match=r"TLS failed|connection reset"):
            post(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()


def test_what_no_request_can_be_made_of_is_not_sent() -> None:
    """A line break in a header would begin another one."""
    with Server(OK) as server, transport() as via:
        with pytest.raises(NotSent, match="no request can be made"):
            exchange(via, server.url, Evil="a\r\nb: c")
        with pytest.raises(NotSent):
            exchange(via, server.url, Evil="\u20ac")
        assert server.requests == []


BROKEN: dict[str, Answer] = {
    "reset": reset,
    "half of the head": then_close(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a head without its end": then_close(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
    "no last chunk": then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    "a bad chunk": then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n"),
    "bad gzip": then_close(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf"),
    "a huge header": then_close(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "many headers": then_close(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_interrupted(name: str) -> None:
    with Server(BROKEN[name]) as server:
        with pytest.raises(Interrupted):
            post(server.url)
        assert len(server.requests) == 1  # never sent twice of itself


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_an_empty_answer_is_one_where_it_says_so(head: bytes) -> None:
    with Server(then_close(head)) as server:
        assert post(server.url).body == b""


def classes(package: Any, root: type[BaseException]) -> set[type[BaseException]]:
    found = {one for _, one in inspect.getmembers(package, inspect.isclass) if issubclass(one, root)}
    return {one for one in found if not issubclass(one, Warning)}


LIBRARY_ERRORS = sorted(
    classes(requests.exceptions, requests.RequestException)
    | classes(urllib3.exceptions, urllib3.exceptions.HTTPError)
    | classes(socket, OSError)
    | classes(ssl, OSError)
    | {ConnectionResetError, BrokenPipeError},
    key=lambda one: f"{one.__module__}.{one.__qualname__}",
)


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_every_error_of_the_libraries_is_one_of_ours(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """And its text, which may quote a proxy's password, is not passed on."""
    for sent, ours in ((False, NotSent), (True, Interrupted)):
        error = kind.__new__(kind)
        error.args = ("a mark",)

        def broken(*_: object, sent: bool = sent, error: BaseException = error, **__: object) -> None:
            module._current.exchange.sent = sent
            raise error

        with transport() as via:
            monkeypatch.setattr(urllib3.PoolManager, "urlopen", broken)
            with pytest.raises((NotSent, Interrupted)) as caught:
                exchange(via, "http://127.0.0.1:1/")
        assert caught.type is ours
        assert str(caught.value)
        assert "mark" not in str(caught.value)


def test_the_walk_over_the_libraries_errors_found_them() -> None:
    assert len(LIBRARY_ERRORS) > 50
    assert {requests.exceptions.SSLError, urllib3.exceptions.IncompleteRead, ssl.SSLError} <= set(LIBRARY_ERRORS)


# -- where nothing may go


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Server(OK) as other:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
        with Server(head.encode()) as server:
            assert post(server.url).status == status
        assert other.connections == 0


def test_netrc_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine 127.0.0.1 login a password b\n")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(file))
    with Server(OK) as server:
        post(server.url)
    assert b"authorization" not in server.requests[0].lower()


def test_cookies_are_not_kept() -> None:
    with Server(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n")) as server, transport() as via:
        for _ in range(2):
            assert exchange(via, server.url).body == b"ok"
    assert len(server.requests) == 2
    assert not any(b"cookie" in one.lower() for one in server.requests)


def test_no_more_is_sent_than_was_given() -> None:
    with Server(OK) as server:
        assert post(server.url) == HttpResponse(200, {"content-length": "2"}, b"ok")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"a=b"
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert names <= {b"host", b"x-test", b"content-length", b"accept-encoding", b"user-agent"}


def test_loopback_never_goes_through_a_proxy(no_proxies: pytest.MonkeyPatch) -> None:
    with Server(OK) as server, Server(OK) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            no_proxies.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(server.url).body == b"ok"
        assert post(server.url.replace("127.0.0.1", "localhost")).body == b"ok"
        assert proxy.connections == 0


def tunnel(connection: socket.socket, port: int) -> None:
    """What a proxy does with CONNECT: here every name is on loopback."""
    with socket.create_connection(("127.0.0.1", port)) as other:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def forward(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while piece := source.recv(65536):
                    target.sendall(piece)
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=forward, args=(other, connection), daemon=True)
        back.start()
        forward(connection, other)
        back.join()


def test_a_proxy_knows_the_name_and_nothing_of_the_request(
    no_proxies: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    trust = Tls(ca_file=str(certificate.ca), server_name="localhost")
    with (
        Server(OK, tls=server_context(certificate)) as server,
        Server(lambda connection: tunnel(connection, server.port)) as proxy,
    ):
        no_proxies.setenv("HTTPS_PROXY", f"http://user:password@127.0.0.1:{proxy.port}")
        assert post("https://api.nosuch.invalid/token", tls=trust).body == b"ok"
        assert proxy.requests[0].startswith(b"CONNECT api.nosuch.invalid:443 ")
        assert b"X-Test" not in proxy.requests[0]
        assert server.requests[0].endswith(b"a=b")
        assert b"proxy-authorization" not in server.requests[0].lower()


def test_a_proxys_password_is_in_no_error(no_proxies: pytest.MonkeyPatch) -> None:
    with Server(then_close(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")) as proxy:
        for port in (proxy.port, free_port()):
            no_proxies.setenv("HTTPS_PROXY", f"http://user:mark@127.0.0.1:{port}")
            with pytest.raises(NotSent) as caught:
                post("https://api.nosuch.invalid/token")
            assert "mark" not in str(caught.value)


# -- a bounded answer


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_megabytes_are_read_up_to_the_bound(chunked: bool) -> None:
    """And what was left unread does not turn up in the next answer."""
    size = 10 << 20
    head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size
    with Server(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body) as server, transport() as via:
        for _ in range(2):
            reply = exchange(via, server.url)
            assert (reply.status, len(reply.body)) == (200, MAX_ANSWER_BYTES + 1)


def test_what_is_small_only_while_it_is_packed_is_bounded_too() -> None:
    packed = gzip.compress(b"\0" * (50 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with Server(head + packed) as server:
        assert len(post(server.url).body) == MAX_ANSWER_BYTES + 1


# -- TLS


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return loopback_certificate(tmp_path)


def test_a_custom_ca_is_trusted_and_an_unknown_one_is_not(certificate: Certificate) -> None:
    with Server(OK, tls=server_context(certificate)) as server:
        assert post(server.url, tls=Tls(ca_file=str(certificate.ca))).body == b"ok"
        with pytest.raises(NotSent, match="certificate is not trusted"):
            post(server.url)
        assert len(server.requests) == 1
        assert post(server.url, tls=Tls(verify=False)).body == b"ok"  # asked for in so many words


def test_variables_of_requests_do_not_change_whom_we_trust(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate.ca))
    with Server(OK, tls=server_context(certificate)) as server, pytest.raises(NotSent, match="not trusted"):
        post(server.url)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    """Unless the name that it is for is the configured one."""
    other = loopback_certificate(tmp_path, "127.0.0.9")
    ca = str(other.ca)
    with Server(OK, tls=server_context(other)) as server:
        for tls in (Tls(ca_file=ca), Tls(ca_file=ca, server_name="elsewhere.invalid")):
            with pytest.raises(NotSent, match="certificate is not trusted"):
                post(server.url, tls=tls)
        assert server.requests == []
        assert post(server.url, tls=Tls(ca_file=ca, server_name="localhost")).body == b"ok"


def test_a_client_certificate_is_shown(certificate: Certificate) -> None:
    context = server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate.ca)
    shown = Tls(ca_file=str(certificate.ca), client_cert=str(certificate.cert), client_key=str(certificate.key))
    with Server(OK, tls=context) as server:
        with pytest.raises((NotSent, Interrupted)):  # with TLS 1.3 a client hears of it after its request
            post(server.url, tls=Tls(ca_file=str(certificate.ca)))
        assert server.requests == []
        assert post(server.url, tls=shown).body == b"ok"


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_tls_files_that_can_not_be_used_are_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "file.pem"
    if content:
        path.write_text(content)
    for tls in (Tls(ca_file=str(path)), Tls(client_cert=str(path))):
        with pytest.raises(ConfigError, match=r"file\.pem"):
            post("https://127.0.0.1:1/", tls=tls)
