"""The way through this host's daemon: what it hands out, what it tells, and what happens where it does neither."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, NamedTuple

import pytest

from tests.test_issuer import lose_vault_after_the_answer, sealed
from tests.world import SEALED, FakeProcess, World
from vault_ticket_plugin import errors
from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.daemon.http_api.problem import failed
from vault_ticket_plugin.errors import (
    Busy,
    ConfigError,
    EndpointUnavailable,
    GrantRejected,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.formats import json_document
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.host import daemon_client
from vault_ticket_plugin.issuer import AskDaemon
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

NOW = 1_800_000_000.0
GIVEN = Ticket(Secret("given-1"), "Bearer", NOW - 600, NOW + 3000)
CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, VaultTicketError)]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


Serve = Callable[[str], Answer]


def document(ticket: Ticket) -> str:
    return json_document.render(ticket, FormatContext(Profile.standard("any")))


def given(ticket: Ticket = GIVEN, now: float = NOW, **changes: str) -> Answer:
    """A hand-out, as the contract has it."""
    times = {"Date": formatdate(now, usegmt=True), "Last-Modified": formatdate(ticket.issued_at, usegmt=True)}
    return Answer(200, {"Content-Type": "application/json"} | times | changes, document(ticket).encode())


def problem(error: VaultTicketError, **changes: Any) -> Answer:
    """A failure, as the contract has it."""
    plain: dict[str, Any] = {
        "type": "about:blank",
        "title": type(error).__name__,
        "status": 503 if error.exit_code in (69, 75) else 502,
        "detail": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    plain |= {"code": error.code} if error.code else {}
    plain |= {"retry_after": error.retry_after} if error.retry_after is not None else {}
    plain |= changes
    headers = {"Content-Type": "application/problem+json"}
    return Answer(plain["status"], headers, json.dumps(plain).encode())


def foreign(title: str, status: int = 502) -> Answer:
    """A problem document that is not ours: no exit code is in it."""
    plain = {"type": "about:blank", "title": title, "status": status, "detail": "x", "hint": ""}
    return Answer(status, {"Content-Type": "application/problem+json"}, json.dumps(plain).encode())


def parts(error: VaultTicketError) -> dict[str, Any]:
    """All that it tells."""
    return {"exit_code": error.exit_code, "hint": error.hint} | vars(error)


@contextmanager
def daemon(path: Path, serve: Serve) -> Iterator[list[str]]:
    """A server on a unix socket that answers so; what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            assert self.headers["Host"] == "localhost"
            status, headers, body = serve(self.path)
            self.send_response_only(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            with suppress(OSError):  # the caller's patience was over
                super().handle()

    class Server(ThreadingMixIn, UnixStreamServer):
        daemon_threads = False

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def ask(path: Path, alone: bool = False, min_ttl: float = 0.0, seconds: float = 20.0) -> LiveTicket | None:
    return daemon_client.request_ticket(str(path), "support", alone, min_ttl, Deadline.after(seconds))


def gives(path: Path, alone: bool = False, min_ttl: float = 0.0) -> bool:
    """Whether it gives GIVEN, good for as long as its Date says."""
    before = HOST_CLOCK.monotonic() + GIVEN.left(NOW)
    live = ask(path, alone, min_ttl)
    after = HOST_CLOCK.monotonic() + GIVEN.left(NOW)
    return live is not None and live == LiveTicket(GIVEN, live.ends) and before <= live.ends <= after


# -- one request


def test_a_ticket_comes_with_its_times_and_with_vaults(path: Path) -> None:
    with daemon(path, lambda _: given()) as asked:
        assert gives(path)
        assert gives(path, alone=True)
    assert asked == ["/v1/tickets/support"] * 2


@pytest.mark.parametrize(("min_ttl", "said"), [(300.0, "300s"), (0.2, "1s"), (3e9, "3000000000s")])
def test_what_the_caller_wants_at_least_is_passed_on(path: Path, min_ttl: float, said: str) -> None:
    with daemon(path, lambda _: given()) as asked:
        ask(path, min_ttl=min_ttl)
    assert asked == [f"/v1/tickets/support?min_ttl={said}"]


@pytest.mark.parametrize(
    ("kind", "alone"), [(kind, alone) for kind in CLASSES for alone in (False, True) if kind is not Busy or alone]
)
def test_an_error_of_ours_is_raised_as_the_daemon_has_it(path: Path, kind: type[VaultTicketError], alone: bool) -> None:
    error = kind("it does not work", "Mend it.", code="invalid_grant", retry_after=42.0)
    with daemon(path, lambda _: problem(error)), pytest.raises(VaultTicketError) as caught:
        ask(path, alone)
    assert type(caught.value) is kind
    assert parts(caught.value) == parts(error)


@pytest.mark.parametrize("title", ["GatewayAsleep", "KeyboardInterrupt", "annotations", "VaultTicketError"])
def test_an_error_of_a_class_that_is_not_known_here_is_told_with_its_exit_code(path: Path, title: str) -> None:
    """A newer daemon's. What Python knows by that name is nothing to us."""
    unknown = problem(ConfigError("it does not work", "Mend it."), title=title, exit_code=83)
    with daemon(path, lambda _: unknown), pytest.raises(VaultTicketError) as caught:
        ask(path)
    assert type(caught.value) is VaultTicketError
    assert (caught.value.message, caught.value.hint) == ("it does not work", "Mend it.")
    assert caught.value.exit_code == 83


def test_what_lives_shorter_than_is_asked_for_comes_all_the_same(path: Path) -> None:
    """The issuer then says what it says by Vault, and remembers no failure."""

    def serve(target: str) -> Answer:
        return problem(ConfigError("tickets live 1h", "Ask for less.")) if "min_ttl" in target else given()

    with daemon(path, serve) as asked:
        assert gives(path, min_ttl=7200)
    assert asked == ["/v1/tickets/support?min_ttl=7200s", "/v1/tickets/support"]
    with daemon(path.with_name("other"), lambda _: problem(ConfigError("it is wrong"))) as asked:
        with pytest.raises(ConfigError, match="it is wrong"):
            ask(path.with_name("other"), min_ttl=7200)
        assert len(asked) == 2


@pytest.mark.parametrize("status", [503, 429])
def test_for_whom_the_daemon_has_no_time_vault_has_perhaps(path: Path, status: int) -> None:
    """Too much to do, or too many requests by this caller: by Vault they would not be busy."""
    with daemon(path, lambda _: problem(Busy("too many requests", "Ask less often."), status=status)):
        assert ask(path) is None
        with pytest.raises(Busy, match="too many requests"):
            ask(path, alone=True)


def test_that_the_daemon_remembers_a_failure_is_its_own_business(path: Path) -> None:
    error = GrantRejected("dead", "Store another.")
    error.remembered_for = 7.0
    told = failed(error)
    headers = {name.decode(): value.decode() for name, value in told.headers if name == b"content-type"}
    with daemon(path, lambda _: Answer(told.status, headers, told.body)), pytest.raises(GrantRejected) as caught:
        ask(path)
    assert caught.value.hint == "Store another."


def test_what_the_daemon_says_can_not_play_with_a_terminal(path: Path) -> None:
    with daemon(path, lambda _: problem(ConfigError("a\x1b[2Jb\nc", "M\rend"))), pytest.raises(ConfigError) as caught:
        ask(path)
    assert (caught.value.message, caught.value.hint) == ("a [2Jb c", "M end")


NO_DAEMON = {
    "plain 500": Answer(500, {}, b"oops"),
    "503 of a proxy": Answer(503, {"Content-Type": "text/html"}, b"<html>"),
    "too fast": foreign("Too Many Requests", 429),
    "no such page": Answer(404, {"Content-Type": "application/json"}, b'{"errors": []}'),
    "a redirect": Answer(302, {"Location": "http://other.example/"}, b""),
    "a class that is none": foreign("KeyboardInterrupt"),
    "a name that is no class": foreign("annotations"),
    "a name that is not there": foreign("Nothing"),
    "a name of ours and no exit code": foreign("ConfigError"),
    "an exit code that is none": problem(ConfigError("x"), exit_code="78"),
    "an exit code that is success": problem(ConfigError("x"), title="Nothing", exit_code=0),
    "an exit code that is a signal": problem(ConfigError("x"), title="Nothing", exit_code=137),
    "a code that is no text": problem(ConfigError("x"), code=7),
    "a time to wait that is none": problem(ConfigError("x"), retry_after="soon"),
    "a title that is no text": problem(ConfigError("x"), title=["ConfigError"]),
    "a hint that is no text": problem(ConfigError("x"), hint=7),
    "a detail that is no text": problem(ConfigError("x"), detail=None),
    "no object": Answer(502, {"Content-Type": "application/problem+json"}, b"[]"),
    "deep": Answer(502, {"Content-Type": "application/problem+json"}, b"[" * 100_000),
    "no JSON": given()._replace(body=b"given-1"),
    "no object in it": given()._replace(body=b'["given-1"]'),
    "no token": given()._replace(body=b"{}"),
    "a token that is none": given()._replace(body=document(GIVEN).replace("given-1", "a b").encode()),
    "no Date": Answer(200, {"Last-Modified": formatdate(NOW)}, document(GIVEN).encode()),
    "a Date that is none": given(Date="today"),
    "no time of issue": Answer(200, {"Date": formatdate(NOW)}, document(GIVEN).encode()),
    "expired": given(now=NOW + 3000),
}


@pytest.mark.parametrize("what", NO_DAEMON)
def test_what_is_no_daemon_of_ours_counts_as_nobody(path: Path, what: str) -> None:
    with daemon(path, lambda _: NO_DAEMON[what]):
        assert ask(path) is None
        with pytest.raises(VaultUnreachable, match="no Vault address is configured"):
            ask(path, alone=True)


def nobody(path: Path) -> None:
    """There is no file."""


def a_file(path: Path) -> None:
    path.touch()


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("make", [nobody, a_file, left_behind])
def test_where_nobody_listens_vault_is_asked_or_both_are_named(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    assert ask(path) is None
    with pytest.raises(VaultUnreachable, match="no Vault address is configured") as caught:
        ask(path, alone=True)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 69
    assert "VAULT_ADDR" in caught.value.hint


def test_a_daemon_that_answers_nothing_holds_nobody_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can ask Vault goes there soon; whoever can't waits to the end of the caller's time."""
    monkeypatch.setattr(daemon_client, "PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert ask(path) is None
        with pytest.raises(VaultUnreachable, match=r"it took too long|no answer in time"):
            ask(path, alone=True, seconds=0.3)


def test_who_has_no_vault_waits_for_the_daemons_refresh(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_client, "PATIENCE", 0.1)
    done = threading.Event()

    def slow(_: str) -> Answer:
        done.wait(20)
        return given()

    with daemon(path, slow):
        assert ask(path) is None
        threading.Timer(0.3, done.set).start()
        assert gives(path, alone=True)


def test_who_is_not_allowed_asks_vault_or_is_told_what_would_let_them_in(path: Path) -> None:
    refused = problem(ConfigError("x"), title="Forbidden", status=403)
    with daemon(path, lambda _: refused):
        assert ask(path) is None
        with pytest.raises(VaultDenied, match="does not give us support") as caught:
            ask(path, alone=True)
    assert "allow = {" in caught.value.hint
    assert caught.value.exit_code == 77


@pytest.mark.parametrize("status", [200, 503])
def test_a_daemons_health(path: Path, status: int) -> None:
    with daemon(path, lambda _: Answer(status, {}, b"")) as asked:
        assert daemon_client.is_alive(str(path), Deadline.after(20)) == (status == 200)
    assert asked == ["/healthz"]
    with pytest.raises(daemon_client.NoAnswer):
        daemon_client.is_alive(f"{path}-not", Deadline.after(20))


# -- in the issuer


class Told:
    """What a daemon says each time, and how often it was asked."""

    def __init__(self, *says: LiveTicket | VaultTicketError | None) -> None:
        self.says = says
        self.asked: list[float] = []

    def __call__(self, min_ttl: float, deadline: Deadline) -> LiveTicket | None:
        assert not deadline.passed()
        said = self.says[min(len(self.asked), len(self.says) - 1)]
        self.asked.append(min_ttl)
        if isinstance(said, VaultTicketError):
            raise said
        return said


def by_daemon(process: FakeProcess, ask: AskDaemon, cached: bool = True, alone: bool = False) -> FakeProcess:
    cache = replace(process.cache, tickets=cached)
    process.issuer = replace(process.issuer, ask_daemon=ask, daemon_only=alone, cache=cache)
    return process


def heard(world: World, left: float = 3000) -> LiveTicket:
    now = float(int(world.time.now))
    ticket = Ticket(Secret("given-1"), "Bearer", now + left - 3600, now + left)
    return LiveTicket.at(ticket, now, world.host().clock.monotonic())


@pytest.mark.parametrize("left", [3000, 700])
def test_the_daemon_is_asked_in_place_of_vault(world: World, left: float) -> None:
    """In the soft window too: it is the daemon who renews."""
    world.seed()
    told = Told(heard(world, left))
    one = by_daemon(world.host().process(), told)
    assert one.get(min_ttl=20) == "given-1"
    assert told.asked == [20]
    assert (one.store.calls, one.endpoint.seen) == ([], [])


def test_what_the_daemon_gave_is_cached(world: World) -> None:
    told = Told(heard(world))
    for _ in range(2):
        assert by_daemon(world.host().process(), told).get() == "given-1"
    assert len(told.asked) == 1


def test_how_long_a_ticket_of_the_daemon_is_good_needs_no_vault(world: World) -> None:
    one = by_daemon(world.host().process(), Told(heard(world, left=1000)), cached=False)
    live = one.issuer.ticket(Demand(), one.deadline())
    world.wait(100)
    assert live.left(one.host.clock.monotonic()) == pytest.approx(900, abs=1)
    assert one.store.calls == []


def test_where_the_daemon_has_nothing_to_say_vault_is_asked(world: World) -> None:
    world.seed()
    one = by_daemon(world.host().process(), Told(None))
    assert one.get() == "ticket-1"


def test_force_asks_vault(world: World) -> None:
    """The daemon would hand out what it has."""
    world.seed()
    told = Told(heard(world))
    assert by_daemon(world.host().process(), told).get(force=True) == "ticket-1"
    assert told.asked == []


def test_a_waiting_journal_goes_to_vault_before_the_daemon_is_asked(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    world.host().forget()
    told = Told(heard(world))
    one = by_daemon(world.host().process(), told)
    one.get()
    assert (world.host().waiting(), one.endpoint.seen, told.asked) == ([], ["a-2"], [])


def test_a_failure_that_the_daemon_tells_is_remembered_as_any_other(world: World) -> None:
    told = Told(EndpointUnavailable("away", "Wait.", retry_after=600))
    for _ in range(2):
        one = by_daemon(world.host().process(), told)
        with pytest.raises(EndpointUnavailable, match="away"):
            one.get()
        assert one.store.calls == []
    assert len(told.asked) == 1
    failure = one.cache.failure()
    assert failure is not None
    assert failure.remembered_for is not None
    assert failure.remembered_for > 500


def test_whatever_the_daemon_tells_a_usable_ticket_is_handed_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(heard(world, left=3000), GrantRejected("dead", "Store another."))
    assert by_daemon(world.host().process(), told).get() == "given-1"
    world.wait(2500)
    assert by_daemon(world.host().process(), told).get() == "given-1"
    assert len(told.asked) == 2
    assert "but: dead. Store another." in caplog.text


def test_for_more_than_the_daemon_has_left_vault_is_asked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.seed()
    told = Told(heard(world, left=60))
    assert by_daemon(world.host().process(), told).get() == "ticket-1"
    assert caplog.text == ""


def test_where_vault_has_no_more_either_its_reason_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    one = sealed(by_daemon(world.host().process(), Told(heard(world, left=60))))
    assert one.get() == "given-1"
    assert SEALED.message in caplog.text


def test_without_a_vault_what_the_daemon_has_is_handed_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    one = by_daemon(world.host().process(), Told(heard(world, left=60)), alone=True)
    assert one.get() == "given-1"
    assert "the daemon has no fresher one" in caplog.text
    assert one.store.calls == []
    assert one.cache.failure() is None


def test_where_force_finds_no_vault_that_is_nothing_to_remember(world: World) -> None:
    """The next call asks the daemon."""

    def nowhere() -> Any:
        raise ConfigError("no Vault address is configured")

    one = by_daemon(world.host().process(), Told(heard(world)))
    one.issuer = replace(one.issuer, connect=nowhere)
    with pytest.raises(ConfigError):
        one.get(force=True)
    assert one.get() == "given-1"


@pytest.mark.parametrize("alone", [False, True])
def test_a_min_ttl_that_no_ticket_can_meet_is_the_same_error(
    world: World, alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world.seed()
    with pytest.raises(ConfigError) as by_vault:
        world.host("web-1").process().get(min_ttl=7200)
    ticket = world.host("web-1").process().ticket()
    told = Told(LiveTicket.at(ticket, world.time.now, world.host("web-2").clock.monotonic()))
    one = by_daemon(world.host("web-2").process(), told, alone=alone)
    with pytest.raises(ConfigError) as by_socket:
        one.get(min_ttl=7200)
    assert (one.store.calls, caplog.text) == ([], "")
    assert parts(by_socket.value) == parts(by_vault.value)
    assert told.asked == [7200]


def test_of_two_usable_tickets_the_longer_one_stays(world: World) -> None:
    told = Told(heard(world, left=1100), heard(world, left=30))
    assert by_daemon(world.host().process(), told).get() == "given-1"
    one = by_daemon(world.host().process(), told)
    assert one.ticket().expires_at == heard(world, left=1100).ticket.expires_at


@pytest.mark.parametrize("kind", CLASSES)
def test_every_failure_is_the_same_by_socket_and_by_vault(
    world: World, path: Path, kind: type[VaultTicketError]
) -> None:
    """The first time and while it is remembered."""
    error = kind("it does not work", "Mend it.")

    def fail(call: str, where: str) -> None:  # noqa: ARG001
        raise error

    shown: list[list[tuple[type, str, int]]] = []
    with daemon(path, lambda _: problem(error)):
        for host in ("by-vault", "by-socket"):
            results = []
            for _ in range(2):
                one = world.host(host).process()
                one.store.before = fail
                if host == "by-socket":
                    one = by_daemon(one, lambda min_ttl, _: ask(path, True, min_ttl), alone=True)
                with pytest.raises(VaultTicketError) as caught:
                    one.get()
                hint, _, _ = caught.value.hint.partition(" s more")  # how long is jittered
                results.append((type(caught.value), f"{caught.value.message}|{hint}", caught.value.exit_code))
            shown.append(results)
    assert shown[0] == shown[1]
