"""One exchange: proxies, kept-alive connections, and what counts as sent. Deadlines: tests/contract."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.environment import PROXY_NAMES
from vault_ticket_plugin.settings.vault import Tls
from vault_ticket_plugin.transport.exchange import MAX_ANSWER_BYTES, HttpResponse, Interrupted, NotSent, Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Listener:
    """Answers each request with the next of its answers; None hangs up. `heads`: what came, to its blank line."""

    def __init__(self, answers: list[bytes | None], unix: Path | None = None) -> None:
        self.heads: list[str] = []
        self.connections = 0
        self._answers = answers
        self._listening = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self._listening.bind(str(unix) if unix else ("127.0.0.1", 0))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def _serve(self) -> None:
        while self._answers:
            connection, _ = self._listening.accept()
            self.connections += 1
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        while self._answers:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            self.heads.append(head.decode())
            answer = self._answers.pop(0)
            if answer is None:
                return
            connection.sendall(answer)
            if b"Connection: close" in answer:
                return

    def close(self) -> None:
        self._thread.join(10)
        self._listening.close()


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_NAMES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def listening(*answers: bytes | None, unix: Path | None = None) -> Iterator[Listener]:
    found = Listener(list(answers), unix)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def get() -> Iterator[Callable[..., HttpResponse]]:
    transport = Transport()

    def exchange(url: str, via: Transport = transport) -> HttpResponse:
        return via.exchange("GET", url, {"X-Test": "1"}, None, Deadline.after(10), 10)

    yield exchange
    transport.close()


def test_a_connection_is_used_again(get: Callable[..., HttpResponse]) -> None:
    with listening(OK, OK) as server:
        assert [get(f"http://{server.netloc}/{n}").body for n in range(2)] == [b"ok", b"ok"]
        assert server.connections == 1


def test_one_that_the_server_has_closed_is_made_anew(get: Callable[..., HttpResponse]) -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with listening(closing, OK) as server:
        assert [get(f"http://{server.netloc}/{n}").status for n in range(2)] == [200, 200]
        assert server.connections == 2


def test_nobody_listening_is_not_sent(get: Callable[..., HttpResponse]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent, match="refused"):
            get(f"http://127.0.0.1:{unused.getsockname()[1]}/")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n20\r\nhalf",
        b"no HTTP at all\r\nConnection: close\r\n\r\n",
    ],
    ids=["nothing", "cut", "cut chunk", "noise"],
)
def test_no_whole_answer_is_interrupted(get: Callable[..., HttpResponse], answer: bytes | None) -> None:
    with listening(answer) as server, pytest.raises(Interrupted):
        get(f"http://{server.netloc}/")


def test_an_answer_is_read_to_its_bound(get: Callable[..., HttpResponse]) -> None:
    """One byte more than the bound is enough for a caller to see that it is too large."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (MAX_ANSWER_BYTES + 1)
    with listening(head + b"x" * (MAX_ANSWER_BYTES + 1)) as server:
        assert len(get(f"http://{server.netloc}/").body) == MAX_ANSWER_BYTES + 1


def test_a_redirect_is_an_answer_like_others(get: Callable[..., HttpResponse]) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with listening(moved) as server:
        reply = get(f"http://{server.netloc}/")
        assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/")


def test_a_unix_socket(get: Callable[..., HttpResponse], tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with listening(OK, unix=path) as server:
        transport = Transport(Tls(), str(path))
        assert get("http://localhost/v1/x", transport).body == b"ok"
        transport.close()
        assert server.heads[0].startswith("GET /v1/x HTTP/1.1\r\n")
        assert "Host: localhost\r\n" in server.heads[0]


def test_plain_http_goes_through_a_proxy(get: Callable[..., HttpResponse], monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(OK) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://us%40er:pass@{proxy.netloc}")
        assert get("http://vault.example/v1/x").body == b"ok"
    pair = base64.b64encode(b"us@er:pass").decode()
    assert proxy.heads[0].startswith("GET http://vault.example/v1/x HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {pair}\r\n" in proxy.heads[0]


def test_https_asks_a_proxy_for_a_tunnel(get: Callable[..., HttpResponse], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the proxy is told is not the request: nothing of that was sent when the proxy refuses."""
    with listening(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:pass@{proxy.netloc}")
        with pytest.raises(NotSent):
            get("https://vault.example/v1/x")
    assert proxy.heads[0].startswith("CONNECT vault.example:443 HTTP/1.")
    assert "Proxy-Authorization: Basic " in proxy.heads[0]
    assert "X-Test" not in proxy.heads[0]


@pytest.mark.parametrize("exempt", ["0.0.0.0", "0.0.0.0/8", "*"])
def test_no_proxy_is_heeded(get: Callable[..., HttpResponse], monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    """0.0.0.0 is this host, too, and unlike 127.0.0.1 no loopback address, which never goes through a proxy."""
    with listening(OK) as server, listening() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.netloc}")
        monkeypatch.setenv("NO_PROXY", exempt)
        assert get(f"http://{server.netloc.replace('127.0.0.1', '0.0.0.0')}/").body == b"ok"
        assert proxy.connections == 0
