"""One conversation: what is tried again and for how long, whose token goes where, and what each refusal means."""

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.fakes import SimClock, Time
from tests.support.bao import DevServer
from tests.support.process import free_port, wait_until
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.errors import (
    ConfigError,
    StoredDataInvalid,
    TokenRefused,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import DEFAULT_TIMEOUT
from vault_ticket_plugin.settings.vault import Auth, VaultSettings
from vault_ticket_plugin.vault.judgement import RULES
from vault_ticket_plugin.vault.kv import VaultStore
from vault_ticket_plugin.vault.logins import log_in
from vault_ticket_plugin.vault.messages import Ok, VaultRequest
from vault_ticket_plugin.vault.session import Login, VaultSession

Given = tuple[int, Any, dict[str, str]]
OK: Given = (200, {"data": {}}, {})


class Fake:
    """Answers with what it is given, one after another and then the last for ever; `seen` has (method, path, headers).

    An answer is (status, JSON or bytes, headers); None hangs up.
    """

    def __init__(self, *answers: Given | None) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, Mapping[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                given = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                if given is None:
                    self.close_connection = True
                    return
                status, body, headers = given
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()


class Logins:
    """Gives these tokens out, one after another."""

    def __init__(self, *tokens: str, renewable: bool = True) -> None:
        self.tokens = list(tokens)
        self.count = 0
        self.renewable = renewable

    def __call__(self, _session: VaultSession, _until: Deadline) -> Login:
        self.count += 1
        return Login(Secret(self.tokens.pop(0)), renewable=self.renewable, revocable=True)


@contextmanager
def session(address: str, logins: Any = None, clock: Clock = HOST_CLOCK, **settings: Any) -> Iterator[VaultSession]:
    known = VaultSettings(address=address, **{"auth": Auth("none"), **settings})
    made = VaultSession(known, logins or Logins("token-1", "token-2"), clock)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def clock() -> SimClock:
    return SimClock(Time())


def soon(clock: Clock = HOST_CLOCK) -> Deadline:
    return Deadline.after(DEFAULT_TIMEOUT, clock)


# -- what is tried again


PASSING = sorted({status for rule in RULES if rule.again and not rule.words for status in rule.statuses})


@pytest.mark.parametrize("status", PASSING)
def test_a_passing_failure_is_tried_again(clock: SimClock, status: int) -> None:
    busy: Given = (status, {"errors": ["not now"]}, {})
    with Fake(busy, busy, busy, OK) as fake, session(fake.address, clock=clock) as vault:
        assert isinstance(vault.send(VaultRequest("GET", "secret/data/x"), soon(clock)), Ok)
        assert len(fake.seen) == 4


@pytest.mark.parametrize(
    "words", ["Waiting for the primary to upgrade", "Upgrading from non-versioned to versioned data"]
)
def test_a_mount_that_is_being_prepared_is_waited_for(clock: SimClock, words: str) -> None:
    preparing: Given = (400, {"errors": [f"{words} from non-versioned; this backend will be unavailable"]}, {})
    with Fake(preparing, preparing, OK) as fake, session(fake.address, clock=clock) as vault:
        assert isinstance(vault.send(VaultRequest("POST", "secret/data/x", {}), soon(clock)), Ok)


def test_a_lost_connection_is_tried_again(clock: SimClock) -> None:
    with Fake(None, None, OK) as fake, session(fake.address, clock=clock) as vault:
        assert isinstance(vault.send(VaultRequest("POST", "secret/data/x", {}), soon(clock)), Ok)
        assert len(fake.seen) == 3


def test_it_goes_on_for_twenty_seconds_and_then_says_what_was_last(clock: SimClock) -> None:
    """A leader election takes that long."""
    began = clock.monotonic()
    with Fake((503, {"errors": ["no leader"]}, {})) as fake, session(fake.address, clock=clock) as vault:
        with pytest.raises(VaultUnreachable, match=r"status 503: no leader") as caught:
            vault.send(VaultRequest("GET", "x"), soon(clock))
        assert DEFAULT_TIMEOUT - 2 <= clock.monotonic() - began <= DEFAULT_TIMEOUT
        assert 10 <= len(fake.seen) <= 40
    assert caught.value.hint


def test_a_last_try_in_a_hurry_does_not_hide_what_was_found() -> None:
    sealed: Given = (503, {"errors": ["Vault is sealed"]}, {})
    with (
        Fake(sealed, None) as fake,
        session(fake.address) as vault,
        pytest.raises(VaultUnreachable, match="is sealed"),
    ):
        vault.send(VaultRequest("GET", "x"), Deadline.after(1.0))
    assert len(fake.seen) > 1


def test_nobody_there_is_an_error_with_the_reason(clock: SimClock) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with session(address, clock=clock) as vault, pytest.raises(VaultUnreachable) as caught:
        vault.send(VaultRequest("GET", "x"), soon(clock))
    assert caught.value.message == f"Vault at {address} gives no answer: connection refused"
    assert "VAULT_ADDR" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (503, {"errors": ["Vault is sealed"]}, VaultUnreachable, "is sealed"),
        (503, b"<html>", VaultUnreachable, "status 503"),
        (200, b"<html>", ConfigError, "is not Vault"),
        (200, b"[]", ConfigError, "is not Vault"),
        (200, b"[" * 100_000, ConfigError, "is not Vault"),
        (404, b"", ConfigError, "is not Vault"),
        (403, b"<html>", ConfigError, "is not Vault"),
        (405, {"errors": ["unsupported operation"]}, ConfigError, "does not know GET x"),
        (418, {"errors": ["I'm a \x1b[31mteapot\r\n"]}, StoredDataInvalid, r"teapot"),
    ],
)
def test_each_refusal_has_its_error_and_a_hint(
    clock: SimClock, status: int, body: Any, error: type[VaultTicketError], says: str
) -> None:
    with Fake((status, body, {})) as fake, session(fake.address, clock=clock) as vault:
        with pytest.raises(error, match=says) as caught:
            vault.send(VaultRequest("GET", "x"), soon(clock))
        assert caught.type is error
        assert caught.value.hint
        assert caught.value.message.isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_goes_to_no_other_host(clock: SimClock, status: int) -> None:
    with Fake(OK) as other:
        location = {"Location": other.address.replace("//", "//user:password@") + "/v1/x"}
        with (
            Fake((status, b"", location)) as fake,
            session(fake.address, clock=clock) as vault,
            pytest.raises(VaultUnreachable, match="sends us to 127") as caught,
        ):
            vault.send(VaultRequest("GET", "x"), soon(clock))
        assert other.seen == []
        assert "password" not in caught.value.message


# -- what is sent


def test_headers_of_a_call() -> None:
    with Fake(OK) as fake, session(fake.address, namespace="ops/eu") as vault:
        vault.send(VaultRequest("GET", "secret/data/a b/ü"), soon())
        vault.send(VaultRequest("GET", "sys/health", anonymous=True), soon())
        vault.send(VaultRequest("GET", "x", token=Secret("another")), soon())
    (method, path, headers), (_, _, nobody), (_, _, another) = fake.seen
    assert (method, path) == ("GET", "/v1/secret/data/a%20b/%C3%BC")
    assert headers["x-vault-token"] == "token-1"
    assert headers["x-vault-namespace"] == "ops/eu"
    assert headers["x-vault-request"] == "true"
    assert "x-vault-token" not in nobody
    assert another["x-vault-token"] == "another"


def test_a_read_after_a_write_is_never_older() -> None:
    """A standby that has not seen the write passes the read on to the active node."""
    wrote: Given = (200, {"data": {}}, {"X-Vault-Index": "index-of-the-write"})
    with Fake(OK, wrote, OK) as fake, session(fake.address) as vault:
        vault.send(VaultRequest("GET", "x"), soon())
        vault.send(VaultRequest("POST", "x", {}), soon())
        vault.send(VaultRequest("GET", "x"), soon())
        vault.send(VaultRequest("POST", "x", {}), soon())
    before, _, after, write = (headers for _, _, headers in fake.seen)
    assert "x-vault-index" not in before
    assert after["x-vault-index"] == "index-of-the-write"
    assert after["x-vault-inconsistent"] == "forward-active-node"
    assert "x-vault-index" not in write


# -- the token

BAD_TOKEN: Given = (403, {"errors": ["permission denied"]}, {})
POLICY: Given = (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}, {})


def test_a_token_that_is_gone_is_replaced_once() -> None:
    logins = Logins("token-1", "token-2", "token-3")
    with Fake(BAD_TOKEN, OK) as fake, session(fake.address, logins) as vault:
        assert isinstance(vault.send(VaultRequest("GET", "x"), soon()), Ok)
    assert [headers["x-vault-token"] for _, _, headers in fake.seen] == ["token-1", "token-2"]
    logins = Logins("token-1", "token-2", "token-3")
    with Fake(BAD_TOKEN) as fake, session(fake.address, logins) as vault:
        with pytest.raises(TokenRefused, match="does not accept our token"):
            vault.send(VaultRequest("GET", "x"), soon())
        assert logins.count == len(fake.seen) == 2


def test_a_token_that_was_given_to_us_has_no_successor() -> None:
    logins = Logins("token-1", renewable=False)
    with Fake(BAD_TOKEN) as fake, session(fake.address, logins) as vault:
        with pytest.raises(TokenRefused):
            vault.send(VaultRequest("GET", "x"), soon())
        assert logins.count == len(fake.seen) == 1


def test_a_policys_no_is_no_reason_to_log_in_again() -> None:
    logins = Logins("token-1", "token-2")
    with Fake(POLICY) as fake, session(fake.address, logins) as vault:
        with pytest.raises(VaultDenied, match="Vault denies GET secret/data/x") as caught:
            vault.send(VaultRequest("GET", "secret/data/x"), soon())
        assert caught.type is VaultDenied
        assert "`read` on secret/data/x" in caught.value.hint
        assert logins.count == len(fake.seen) == 1


def test_threads_share_one_login() -> None:
    logins = Logins(*(f"token-{n}" for n in range(20)))
    with Fake(OK) as fake, session(fake.address, logins) as vault:
        threads = [threading.Thread(target=vault.send, args=(VaultRequest("GET", "x"), soon())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(fake.seen) == 8
    assert logins.count == 1


def test_only_what_a_login_brought_is_taken_back() -> None:
    with Fake(OK) as fake:
        with session(fake.address, lambda *_: Login(Secret("given"))) as vault:
            vault.send(VaultRequest("GET", "x"), soon())
            vault.revoke_own_login(soon())
        with session(fake.address) as vault:
            vault.revoke_own_login(soon())  # it never logged in
            vault.send(VaultRequest("GET", "x"), soon())
            vault.revoke_own_login(soon())
    assert [path for _, path, _ in fake.seen] == ["/v1/x", "/v1/x", "/v1/auth/token/revoke-self"]


# -- the server's clock


def dated(seconds: float) -> Given:
    return 200, {}, {"Date": formatdate(seconds, usegmt=True)}


def test_the_servers_clock_is_followed(clock: SimClock) -> None:
    """Ours is ten minutes wrong. Each reading narrows it down; one that contradicts the others begins anew."""
    server = float(int(clock.wall())) + 600
    with (
        Fake(OK, dated(server), dated(server), dated(server + 5), dated(server - 300)) as fake,
        session(fake.address, clock=clock) as vault,
    ):
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == (clock.wall(), clock.wall())  # it has not said yet
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == (server, server + 1)
        clock.sleep(0.7)
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == pytest.approx((server + 0.7, server + 1))  # the same second still
        clock.sleep(4)
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == pytest.approx((server + 5, server + 5))
        clock.sleep(2)
        assert vault.now() == pytest.approx((server + 7, server + 7))
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == pytest.approx((server - 300, server - 299))  # another node, or a clock that was set


@pytest.mark.parametrize("text", ["", "yesterday", "Mon, 99 Nov 2026 25:00:00 GMT"])
def test_a_date_that_is_none_is_passed_over(clock: SimClock, text: str) -> None:
    with Fake((200, {}, {"Date": text})) as fake, session(fake.address, clock=clock) as vault:
        vault.send(VaultRequest("GET", "x"), soon(clock))
        assert vault.now() == (clock.wall(), clock.wall())


# -- the real server


def reader(bao: DevServer, kv: str) -> str:
    bao.write_policy(f"reader-{kv}", f'path "{kv}/data/x" {{ capabilities = ["read"] }}')
    bao.write(f"{kv}/data/x", {"data": {"a": 1}})
    return f"reader-{kv}"


def test_a_bad_token_and_a_policys_no_are_told_apart(bao: DevServer, kv: str) -> None:
    policy = reader(bao, kv)
    ending = bao.token_for(policy, ttl="1s")
    wait_until(lambda: not bao.token_valid(ending), "the token's end")
    for token in (ending, f"s.{uuid.uuid4().hex}", "nonsense"):
        with session(bao.address, Logins(token, renewable=False)) as vault, pytest.raises(TokenRefused):
            vault.send(VaultRequest("GET", f"{kv}/data/x"), soon())
    with session(bao.address, Logins(bao.token_for(policy))) as vault:
        assert vault.send(VaultRequest("GET", f"{kv}/data/x"), soon()).data["data"] == {"a": 1}
        with pytest.raises(VaultDenied, match=f"Vault denies POST {kv}/data/x") as caught:
            vault.send(VaultRequest("POST", f"{kv}/data/x", {"data": {}}), soon())
        assert "`create and update`" in caught.value.hint


def test_a_long_session_logs_in_again_when_its_token_is_gone(bao: DevServer, kv: str, tmp_path: Path) -> None:
    role_id, secret_id = bao.enable_approle(kv, [reader(bao, kv)], token_ttl="10m")
    file = tmp_path / "secret-id"
    file.write_text(secret_id)
    auth = Auth("approle", mount="approle", role_id=role_id, secret_id_file=str(file))
    with session(bao.address, log_in, auth=auth) as vault:
        assert isinstance(vault.send(VaultRequest("GET", f"{kv}/data/x"), soon()), Ok)
        first = vault.send(VaultRequest("GET", "auth/token/lookup-self"), soon()).data["id"]
        bao.write("auth/token/revoke", {"token": first})
        assert isinstance(vault.send(VaultRequest("GET", f"{kv}/data/x"), soon()), Ok)
        second = vault.send(VaultRequest("GET", "auth/token/lookup-self"), soon()).data["id"]
        assert first != second
        vault.revoke_own_login(soon())
        assert not bao.token_valid(second)


def test_a_token_file_is_read_again_when_its_token_is_gone(bao: DevServer, kv: str, tmp_path: Path) -> None:
    """An agent writes the next one into its sink."""
    policy, sink = reader(bao, kv), tmp_path / "sink"
    first, second = bao.token_for(policy), bao.token_for(policy)
    sink.write_text(first)
    with session(bao.address, log_in, auth=Auth("token", token_file=str(sink))) as vault:
        assert isinstance(vault.send(VaultRequest("GET", f"{kv}/data/x"), soon()), Ok)
        sink.write_text(second)
        bao.write("auth/token/revoke", {"token": first})
        assert isinstance(vault.send(VaultRequest("GET", f"{kv}/data/x"), soon()), Ok)
        vault.revoke_own_login(soon())
    assert bao.token_valid(second)


def test_the_real_servers_time_is_its_own(bao: DevServer, kv: str) -> None:
    clock = SimClock(Time(), skew=-86400 * 365)
    with session(bao.address, Logins(bao.token_for(reader(bao, kv))), clock) as vault:
        vault.send(VaultRequest("GET", f"{kv}/data/x"), soon(clock))
        assert vault.now().earliest <= HOST_CLOCK.wall() <= vault.now().latest


def test_a_mount_can_be_used_at_once(bao: DevServer) -> None:
    """Just after it is made, the real server refuses everything in a KV v2 mount for a moment."""
    for _ in range(5):
        mount = f"kv-{uuid.uuid4().hex[:8]}"
        with session(bao.address, Logins(bao.root_token)) as vault:
            store = VaultStore(vault)
            bao.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
            assert store.write(Location(mount, "x"), {"a": 1}, 0, soon()) == 1
            assert store.read(Location(mount, "x"), soon()).data == {"a": 1}


def test_a_sealed_server_is_waited_for(tmp_path: Path) -> None:
    """And found again when it is unsealed."""
    with DevServer(tmp_path) as bao, session(bao.address, Logins(bao.root_token)) as vault:
        bao.write("secret/data/x", {"data": {"a": 1}})
        bao.seal()
        with pytest.raises(VaultUnreachable, match="is sealed"):
            vault.send(VaultRequest("GET", "secret/data/x"), Deadline.after(0.5))
        unsealing = threading.Timer(0.3, bao.unseal)
        unsealing.start()
        assert isinstance(vault.send(VaultRequest("GET", "secret/data/x"), soon()), Ok)
        unsealing.join()
