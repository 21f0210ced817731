"""Nobody is let in: every way in that a stranger could try, against the real server over real sockets."""

import contextlib
import json
import logging
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.serving import (
    GOOD,
    OTHER,
    Serving,
    ShiftedClock,
    access_token,
    check_by_name,
    exchange,
    in_thread,
    issue_at_once,
    profile,
    raw,
    rest,
)
from tests.support.bao import DevServer
from tests.support.process import wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon.http_api import access, connection, server
from vault_ticket_plugin.daemon.http_api.app import RequestContext
from vault_ticket_plugin.daemon.http_api.problem import Response
from vault_ticket_plugin.daemon.keeper import Keeper
from vault_ticket_plugin.model import Demand, LiveTicket, Location
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Allow, Profile
from vault_ticket_plugin.settings.vault import Auth, VaultSettings
from vault_ticket_plugin.vault.session import Login, VaultSession

PATH = "/v1/tickets/support"
HOST = b"Host: localhost\r\n"
ASK = b"GET /v1/tickets/support HTTP/1.1\r\n" + HOST + b"X-Vault-Token: " + GOOD.encode() + b"\r\n\r\n"
GRACE = 30.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run a client under another uid")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that other users get into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("let-in")) as serving:
        yield serving


@pytest.fixture(autouse=True)
def _no_secret_is_printed(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever was tried, and at the highest verbosity."""
    with caplog.at_level(logging.DEBUG):
        yield
    out, err = capfd.readouterr()
    for text in (caplog.text, out, err):
        for secret in (GOOD, OTHER, access_token("support"), "hvs."):
            assert secret not in text
    assert out == ""
    assert err == ""


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


# -- on the unix socket


def as_user(it: Serving, uid: int, *groups: int, path: str = PATH, more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Status and body that a client under that uid is given; the first group is its own, others are supplementary."""
    first, *others = groups or (uid,)
    done = subprocess.run(
        ["curl", "-sS", *more, "-w", "\n%{http_code}", "--unix-socket", str(it.path), f"http://localhost{path}"],
        user=uid,
        group=first,
        extra_groups=others,
        cwd="/",
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@as_root
def test_another_user_is_given_nothing_and_not_told_which_profiles_there_are(open_folder: Path) -> None:
    with Serving(open_folder) as it:
        status, body = as_user(it, 12345)
        assert status == 403
        assert access_token("support") not in body
        other_status, other_body = as_user(it, 12345, path="/v1/tickets/no-such-profile")
        assert (status, body) == (other_status, other_body)
        assert [(one.outcome, one.who.split(" (")[0]) for one in it.told] == [("denied", "uid 12345")] * 2


@as_root
def test_the_allow_list_lets_users_and_groups_in_supplementary_ones_too(open_folder: Path) -> None:
    profiles = {
        "support": profile("support", Allow(frozenset({12345}), frozenset({777}))),
        "billing": profile("billing", Allow(frozenset({54321}))),
    }
    with Serving(open_folder, profiles=profiles) as it:
        assert as_user(it, 12345)[0] == 200
        assert as_user(it, 23456)[0] == 403
        assert as_user(it, 23456, 777)[0] == 200
        assert as_user(it, 23456, 23456, 10, 777)[0] == 200
        assert as_user(it, 23456, 23456, 10, 778)[0] == 403
        assert as_user(it, 12345, path="/v1/tickets/billing")[0] == 403
        # What is told to all says nothing of anybody.
        assert as_user(it, 23456, path="/readyz")[0] == 200


@as_root
def test_a_vault_token_opens_nothing_on_the_unix_socket(open_folder: Path) -> None:
    with Serving(open_folder) as it:
        assert as_user(it, 12345, more=("-H", f"X-Vault-Token: {GOOD}"))[0] == 403


@as_root
def test_the_daemons_own_user_and_root_are_let_in_and_told_that_there_is_no_such_profile(open_folder: Path) -> None:
    with Serving(open_folder) as it:
        assert it.get(PATH).status == 200
        reply = it.get("/v1/tickets/no-such-profile")
        assert (reply.status, json.loads(reply.body)["title"]) == (502, "ConfigError")


def test_the_mode_of_the_socket_keeps_others_from_connecting_at_all(tmp_path: Path) -> None:
    with Serving(tmp_path, mode=0o600) as it:
        assert it.path.stat().st_mode & 0o777 == 0o600


# -- on TCP


def test_on_tcp_nobody_without_a_token_is_let_in(shared: Serving) -> None:
    """Not even root, whose uid nobody can see there."""
    nothing: dict[str, str] = {}
    for headers in (nothing, {"X-Vault-Token": ""}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        reply = exchange(shared.tcp(), PATH, "GET", headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")


def test_a_token_that_vault_does_not_let_read_is_refused_and_tells_no_profiles(shared: Serving) -> None:
    replies = [shared.ticket(OTHER, name) for name in ("support", "no-such-profile")]
    assert [one.status for one in replies] == [403, 403]
    assert replies[0].body == replies[1].body


def test_a_good_token_is_told_nothing_of_other_profiles(shared: Serving) -> None:
    assert shared.ticket(GOOD, "no-such-profile").status == 403


@pytest.mark.parametrize("token", ["a b", "hvs.\x01x", "hvs." + "x" * 5000, "hvs.\xe9"])
def test_what_can_be_no_token_is_refused_without_asking_vault(tmp_path: Path, token: str) -> None:
    def check(*_args: object) -> access.Caller | None:
        raise AssertionError("Vault was asked")

    with Serving(tmp_path, check=check) as it:
        head = b"GET " + PATH.encode() + b" HTTP/1.1\r\n" + HOST + b"X-Vault-Token: " + token.encode("latin-1")
        assert status_of(raw(it.tcp(), head + b"\r\nConnection: close\r\n\r\n")) in (400, 401)


class AtVault:
    """A real Vault's policies, for a daemon with two profiles."""

    def __init__(self, bao: DevServer, kv: str) -> None:
        self.bao = bao
        self.kv = kv
        self.profiles = {
            name: Profile(name, Location(kv, f"{name}/grant"), Location(kv, f"{name}/token"))
            for name in ("support", "billing")
        }
        self.session = VaultSession(
            VaultSettings(bao.address, Auth("none")), lambda _session, _until: Login(None), ShiftedClock()
        )

    def token(self, profile: str, capabilities: str = '"read"', part: str = "data", **params: Any) -> str:
        name = f"{self.kv}-{profile}-{part}-{abs(hash(capabilities))}"
        self.bao.write_policy(name, f'path "{self.kv}/{part}/{profile}/token" {{ capabilities = [{capabilities}] }}')
        return self.bao.token_for(name, **params)


@pytest.fixture
def at(bao: DevServer, kv: str) -> Iterator[AtVault]:
    made = AtVault(bao, kv)
    yield made
    made.session.close()


@pytest.fixture
def guarded(at: AtVault, tmp_path: Path) -> Iterator[Serving]:
    with Serving(
        tmp_path, profiles=at.profiles, check=access.vault_authorizer(at.session), clock=ShiftedClock()
    ) as serving:
        yield serving


def test_vault_decides_who_reads_which_profiles_ticket(guarded: Serving, at: AtVault) -> None:
    reader = at.token("support", display_name="night-job")
    assert guarded.ticket(reader).status == 200
    assert guarded.told[-1].who == "token-night-job"
    assert guarded.ticket(reader, "billing").status == 403
    assert guarded.ticket(at.bao.root_token, "billing").status == 200
    assert guarded.ticket("hvs.made-up").status == 403
    assert guarded.ticket(at.token("support", '"list", "create", "update"')).status == 403
    assert guarded.ticket(at.token("support", '"sudo"')).status == 403
    assert guarded.ticket(at.token("support", '"deny"')).status == 403
    assert guarded.ticket(at.token("support", part="metadata")).status == 403
    assert guarded.ticket(at.bao.token_for("default")).status == 403


def test_a_token_needs_the_right_to_read_and_no_other(guarded: Serving, at: AtVault) -> None:
    """As policies/ticket-reader.hcl gives it, without the server's `default`; then nobody tells its name."""
    assert guarded.ticket(at.token("support", no_default_policy=True)).status == 200
    assert guarded.told[-1].who == "token"


def test_a_revoked_token_is_of_use_for_ten_seconds_at_most(guarded: Serving, at: AtVault) -> None:
    token = at.token("support")
    assert guarded.ticket(token).status == 200
    at.bao.write("auth/token/revoke", {"token": token})
    clock = guarded.clock
    assert isinstance(clock, ShiftedClock)
    clock.shift += access.GRANTED_SECONDS
    assert access.GRANTED_SECONDS == 10.0
    assert guarded.ticket(token).status == 403


def test_an_expired_token_is_of_use_for_ten_seconds_at_most(guarded: Serving, at: AtVault) -> None:
    token = at.token("support", ttl="4s", explicit_max_ttl="4s")
    first = guarded.ticket(token).status
    wait_until(lambda: not at.bao.token_valid(token), "the token's end")
    clock = guarded.clock
    assert isinstance(clock, ShiftedClock)
    clock.shift += access.GRANTED_SECONDS
    assert (first, guarded.ticket(token).status) == (200, 403)


def test_a_refusal_is_remembered_for_two_seconds_so_that_vault_is_not_asked_each_time(
    guarded: Serving, at: AtVault
) -> None:
    clock = guarded.clock
    assert isinstance(clock, ShiftedClock)
    token = at.bao.token_for("default")
    mark = at.bao.mark()
    assert [guarded.ticket(token).status for _ in range(3)] == [403] * 3
    assert len(at.bao.requests_seen(since=mark)) == 1
    clock.shift += access.DENIED_SECONDS
    guarded.ticket(token)
    assert len(at.bao.requests_seen(since=mark)) == 2


def test_where_vault_cannot_say_nobody_is_let_in_and_profiles_are_not_told_apart(tmp_path: Path) -> None:
    gone = VaultSession(VaultSettings("http://127.0.0.1:1", Auth("none")), lambda _s, _u: Login(None), ShiftedClock())

    def check(token: Secret, location: Location, _until: Deadline) -> access.Caller | None:
        return access.vault_authorizer(gone)(token, location, Deadline.after(0.3))

    with Serving(tmp_path, check=check) as it:
        replies = [it.ticket(GOOD, name) for name in ("support", "no-such-profile")]
        assert [(one.status, one.headers["retry-after"]) for one in replies] == [(503, "5"), (503, "5")]
        assert replies[0].body == replies[1].body
    gone.close()


# -- the path


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../support", "%2e%2e", "%2e%2e%2fsupport", "..%2fsupport", "support%2f..%2fbilling"),
        *("support/../billing", "support%00", "%00", "support%00.json", "%2573upport", "%252e%252e%252f"),
        *("support%2f", "support/", ".support"),
        *("-support", "a" * 65, "a" * 8000, "support%0d%0aX:y", "supp%c3%b6rt", "support;x", "support%20", "%", "%zz"),
        *("support.json/", "support%5c..", "..%c0%af", "~root"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_finds_nothing(shared: Serving, name: str) -> None:
    for client in (shared.unix(), shared.tcp()):
        head = (
            f"GET /v1/tickets/{name} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {GOOD}\r\nConnection: close\r\n\r\n"
        )
        answer = raw(client, head.encode())
        assert status_of(answer) in (400, 404), name
        assert access_token("support").encode() not in answer


def test_the_name_may_be_written_with_escapes_as_any_path(shared: Serving) -> None:
    assert shared.get("/v1/tickets/%73upport").status == 200


# -- other hosts' web pages


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8207", "localhost.evil.example", "127.0.0.1.evil.example"]
)
@pytest.mark.parametrize("path", [PATH, "/healthz", "/metrics", "/readyz", "/openapi.json"])
def test_a_name_rebound_to_this_host_is_refused(shared: Serving, host: str, path: str) -> None:
    assert shared.get(path, tcp=True, Host=host, X_Vault_Token=GOOD).status == 421
    assert shared.get(path, Host=host).status == 421


@pytest.mark.parametrize(
    "host", ["", "10.0.0.1", "0.0.0.0", "[::]", "localhost@evil", "localhost:x", "local_host", "1"]
)
def test_a_host_that_is_not_loopback_is_refused(shared: Serving, host: str) -> None:
    head = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {GOOD}\r\nConnection: close\r\n\r\n"
    assert status_of(raw(shared.tcp(), head.encode())) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:8207", "[::1]:8207"])
def test_the_names_of_this_host_are_taken(shared: Serving, host: str) -> None:
    assert shared.get(PATH, tcp=True, Host=host, X_Vault_Token=GOOD).status == 200


def test_without_a_host_or_with_two_nothing_is_answered(shared: Serving) -> None:
    ask = b"GET /v1/tickets/support HTTP/1.1\r\nConnection: close\r\n"
    assert status_of(raw(shared.tcp(), ask + b"\r\n")) == 400
    assert status_of(raw(shared.tcp(), ask + HOST + b"Host: evil.example\r\n\r\n")) == 400
    assert status_of(raw(shared.tcp(), ask.replace(b"1.1", b"1.0") + b"\r\n")) == 400
    both = HOST + b"X-Vault-Token: " + GOOD.encode() + b"\r\nX-Vault-Token: x\r\n\r\n"
    assert status_of(raw(shared.tcp(), ask + both)) == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch_Site": "cross-site"},
        {"Sec-Fetch_Site": "same-origin"},
    ],
)
def test_a_web_page_is_given_nothing(shared: Serving, headers: dict[str, str]) -> None:
    for path in (PATH, "/healthz", "/metrics"):
        for method in ("GET", "OPTIONS"):
            assert exchange(shared.tcp(), path, method, headers | {"X-Vault-Token": GOOD}).status == 403
            assert exchange(shared.unix(), path, method, headers).status == 403


# -- too much


def test_a_request_of_a_gigabyte_is_refused_before_it_is_read(shared: Serving) -> None:
    for head in (b"Content-Length: 1000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3b9aca00\r\n"):
        for client in (shared.tcp(), shared.unix()):
            answer = raw(client, b"POST /v1/tickets/support HTTP/1.1\r\n" + HOST + head)
            assert status_of(answer) == 413
            assert b"connection: close" in answer


def test_who_goes_on_sending_is_cut_off(shared: Serving) -> None:
    sent = 0
    with shared.tcp() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 64_000_000:
                sent += client.send(b"x" * 65536)
    assert sent < 64_000_000


def test_a_small_body_that_nobody_asked_for_is_passed_over(shared: Serving) -> None:
    body = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
    answer = raw(shared.unix(), body + body.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 4000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 8_000_000,
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"a" * 8_000_000,
        b"GET /" + b"a" * 8_000_000,
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 1_500_000,
    ],
    ids=["url", "value", "count", "endless-value", "endless-name", "endless-url", "endless-count"],
)
def test_a_long_head_is_refused_while_it_is_small(shared: Serving, head: bytes) -> None:
    assert status_of(raw(shared.tcp(), head)) == 431


def test_a_head_in_many_pieces_is_counted_as_one(shared: Serving) -> None:
    with shared.unix() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST)
        with contextlib.suppress(OSError):
            for _ in range(200):
                client.sendall(b"X: " + b"a" * 1000 + b"\r\n")
        assert status_of(rest(client)) == 431


# -- slow ones, and many


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits, smaller."""
    assert (connection.HEAD_SECONDS, connection.IDLE_SECONDS, server.SWEEP_SECONDS) == (5.0, 60.0, 1.0)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(connection, "MAX_BY_ONE", 20)


@pytest.mark.usefixtures("hasty")
def test_a_head_that_comes_a_byte_at_a_time_is_cut_off(tmp_path: Path) -> None:
    with Serving(tmp_path) as it, it.tcp() as client:
        deadline = time.monotonic() + GRACE
        answer = b""
        client.settimeout(0.02)
        for byte in ASK * 1000:
            try:
                client.send(bytes([byte]))
                answer = client.recv(4096)
            except TimeoutError:
                assert time.monotonic() < deadline
                continue
            except OSError:
                break
            break
        assert status_of(answer) == 408


@pytest.mark.usefixtures("hasty")
def test_empty_lines_for_ever_are_cut_off(tmp_path: Path) -> None:
    """The parser passes over them, before the first request and after one."""
    with Serving(tmp_path) as it:
        for first in (b"", ASK):
            deadline, open_ = time.monotonic() + GRACE, True
            with it.tcp() as client:
                client.settimeout(0.02)
                client.sendall(first)
                while open_:
                    assert time.monotonic() < deadline
                    try:
                        client.send(b"\r\n")
                        open_ = bool(client.recv(4096))
                    except TimeoutError:
                        continue
                    except OSError:
                        open_ = False


@pytest.mark.usefixtures("hasty")
def test_many_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    with Serving(tmp_path) as it:
        slow = [it.tcp() for _ in range(60)]
        for one in slow:
            one.sendall(ASK[:30])
        for _ in range(10):
            assert it.ticket().status == 200
            assert it.get(PATH).status == 200
        connections = it.server._uvicorn.server_state.connections
        assert len(connections) <= connection.MAX_BY_ONE + 2
        wait_until(lambda: not connections, "all of them cut off")
        for one in slow:
            one.close()


def test_a_connection_that_rests_for_a_minute_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.05)
    with Serving(tmp_path) as it:
        client = it.tcp()
        client.sendall(ASK)
        assert status_of(rest(client)) == 200


def test_where_all_places_are_taken_by_answers_the_next_one_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_BY_ONE", 3)
    go = threading.Event()

    def issue(name: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        assert go.wait(20)
        return issue_at_once()(name, demand, deadline)

    with Serving(tmp_path, issue=issue, warm=False) as it:
        clients = [in_thread(it.ticket) for _ in range(3)]
        try:
            wait_until(lambda: it.waiting() == 3, "three under way")
            assert status_of(raw(it.tcp(), ASK)) == 503
            assert it.get("/healthz").status == 200  # another caller
        finally:
            go.set()
            for one in clients:
                one.join()


def test_who_does_not_take_the_answers_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.05)
    with Serving(tmp_path) as it, it.unix() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.1)
        with contextlib.suppress(OSError):  # it stops reading, or closes
            while True:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n")
        wait_until(lambda: not it.server._uvicorn.server_state.connections, "cut off")


# -- request smuggling, pipelining


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"X: y\r\n Content-Length: 5\r\n",
        b"X: y\nContent-Length: 5\r\n",
        b"X\x00: y\r\n",
    ],
)
def test_what_two_readers_could_read_differently_is_refused_and_the_connection_closed(
    shared: Serving, headers: bytes
) -> None:
    second = ASK.replace(b"GET", b"0\r\n\r\nGET")
    answer = raw(shared.tcp(), b"GET /healthz HTTP/1.1\r\n" + HOST + headers + b"\r\n" + second)
    assert answer.count(b"HTTP/1.1") == 1
    assert status_of(answer) in (400, 413)
    assert access_token("support").encode() not in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://evil.example/v1/tickets/support HTTP/1.1\r\n" + HOST,
        b"GET * HTTP/1.1\r\n" + HOST,
        b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST,
        b"GET /v1/tickets/support HTTP/3.0\r\n" + HOST,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-x\r\n",
    ],
)
def test_what_is_no_request_of_ours_is_refused(shared: Serving, head: bytes) -> None:
    answer = raw(shared.tcp(), head + b"X-Vault-Token: " + GOOD.encode() + b"\r\nConnection: close\r\n\r\n")
    assert status_of(answer) in (400, 405)


def test_an_upgrade_is_not_made(shared: Serving) -> None:
    head = ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nrest"
    answer = raw(shared.tcp(), head)
    assert answer.count(b"HTTP/1.1") == 1
    assert status_of(answer) == 200


def test_requests_in_one_go_are_answered_in_order_and_only_so_many(shared: Serving) -> None:
    paths = [b"/healthz", b"/nothing", PATH.encode(), b"/metrics"]
    asks = b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths[:-1])
    last = b"GET /metrics HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answers = raw(shared.unix(), asks + last).split(b"HTTP/1.1 ")[1:]
    assert [one[:3] for one in answers] == [b"200", b"404", b"200", b"200"]
    many = raw(shared.unix(), ASK * 1000)
    assert many.count(b"HTTP/1.1 200") == connection.MAX_PIPELINED + 1
    assert b"connection: close" in many


def test_what_comes_after_a_good_request_does_not_change_its_answer(shared: Serving) -> None:
    answer = raw(shared.tcp(), ASK + b"\x00\x01 nonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert status_of(answer) == 200
    assert answer.endswith(b"}")


def test_a_client_that_goes_away_is_nobodys_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    def issue(name: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        assert go.wait(20)
        return issue_at_once()(name, demand, deadline)

    with Serving(tmp_path, issue=issue, warm=False) as it:
        with it.tcp() as one, it.unix() as other:
            one.sendall(ASK)
            other.sendall(ASK)
            wait_until(lambda: it.waiting() == 2, "both under way")
        go.set()
        wait_until(lambda: it.waiting() == 0, "both over")
        assert it.get(PATH).status == 200
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


# -- secrets


def test_nothing_prints_a_secret() -> None:
    asked = RequestContext(1.0, "strangers", None, GOOD.encode(), b"")
    answer = Response(200, [], GOOD.encode())
    for text in (repr(asked), str(asked), f"{answer}", repr(answer), repr(vars(Keeper)), repr(check_by_name)):
        assert GOOD not in text
