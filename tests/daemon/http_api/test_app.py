"""What the daemon answers over HTTP, asked over real sockets."""

import json
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.daemon.serving import (
    GOOD,
    LIFETIME,
    OTHER,
    Serving,
    ShiftedClock,
    SourceOf,
    access_token,
    in_thread,
    issue_at_once,
    profile,
)
from tests.support.process import wait_until
from vault_ticket_plugin import errors
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon.http_api import access
from vault_ticket_plugin.daemon.http_api.app import CHECK_THREADS, TICKET_THREADS, WAITING
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.formats import json_document
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.model import Demand, LiveTicket, Location, Ticket, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

PATH = "/v1/tickets/support"
SOFT = Windows().soft_for(LIFETIME)


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("web")) as serving:
        yield serving


def test_a_ticket_is_the_json_of_the_format_and_says_how_long_it_stays_true(it: Serving) -> None:
    reply = it.get(PATH)
    kept = it.keeper.ready("support")
    assert kept is not None
    document = json_document.render(kept.ticket, FormatContext(Profile.standard("any")))
    assert (reply.status, reply.body.decode()) == (200, document)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["etag"] == f'"{kept.ticket.access_token.fingerprint()}"'
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "vary" not in reply.headers
    kind, age = reply.headers["cache-control"].split("max-age=")
    assert kind == "private, "
    assert LIFETIME - SOFT - 60 < int(age) <= LIFETIME - SOFT
    assert parsedate_to_datetime(reply.headers["last-modified"]).timestamp() == int(kept.ticket.issued_at)


def test_the_date_is_now_by_the_clock_that_the_ticket_ends_by(tmp_path: Path) -> None:
    """A host whose clock is wrong by an hour passes Vault's time on, and the max-age is 0 in the soft window."""
    clock = ShiftedClock()

    def issue(name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        ahead = clock.wall() + 3600
        ticket = Ticket(Secret(access_token(name)), "Bearer", ahead - 3000, ahead + 600)
        return LiveTicket.at(ticket, ahead, clock.monotonic())

    with Serving(tmp_path, issue=issue, clock=clock) as it:
        first = it.get(PATH)
        assert abs(parsedate_to_datetime(first.headers["date"]).timestamp() - clock.wall() - 3600) < 30
        assert first.headers["cache-control"] == "private, max-age=0"
        clock.shift += 100
        second = it.get(PATH)
        dates = [parsedate_to_datetime(one.headers["date"]).timestamp() for one in (first, second)]
        assert 100 <= dates[1] - dates[0] < 130


@pytest.mark.parametrize("match", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_who_has_the_ticket_already_is_told_so(it: Serving, match: str) -> None:
    kept = it.keeper.ready("support")
    assert kept is not None
    fingerprint = kept.ticket.access_token.fingerprint()
    reply = it.get(PATH, If_None_Match=match.format(fingerprint))
    assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", f'"{fingerprint}"')
    assert it.get(PATH, If_None_Match='"another"').status == 200


def test_head_gives_the_headers_of_get_alone(it: Serving) -> None:
    for path in (PATH, "/healthz", "/readyz", "/metrics", "/openapi.json", "/nothing"):
        got, head = it.get(path), it.get(path, method="HEAD")
        assert head.body == b""
        assert head.status == got.status
        assert head.headers.keys() == got.headers.keys()
        assert head.headers["content-length"] == str(len(got.body))


def test_the_bearer_form_of_a_vault_token_works_too(it: Serving) -> None:
    reply = it.get(PATH, tcp=True, Authorization=f"bearer {GOOD}")
    assert reply.status == 200
    assert reply.headers["vary"] == "X-Vault-Token, Authorization"


@pytest.mark.parametrize("given", ["5m", "90", "90s", "1h30m", "0", "1.5h", "500ms", "1d"])
def test_a_min_ttl_that_the_ticket_meets_is_answered(it: Serving, given: str) -> None:
    assert it.get(f"{PATH}?min_ttl={given}").status == 200


@pytest.mark.parametrize(
    "query",
    [
        *("min_ttl=", "min_ttl=-1", "min_ttl=x", "min_ttl=1y", "min_ttl=5m&min_ttl=5m", "max_ttl=5m", "min_ttl=5m&x=1"),
        *("min_ttl", "x", "min_ttl=inf", "min_ttl=1e9", "min_ttl=%ff", "min_ttl=%D9%A5m", "min_ttl=+5m"),
        "min_ttl=" + "9" * 400,
    ],
)
def test_a_query_that_is_not_a_duration_is_400(it: Serving, query: str) -> None:
    assert it.get(f"{PATH}?{query}").status == 400


def test_a_demand_that_no_ticket_in_memory_meets_is_passed_on(tmp_path: Path) -> None:
    demands: list[float] = []

    def issue(name: str, demand: Demand, _until: Deadline) -> LiveTicket:
        demands.append(demand.min_ttl)
        return issue_at_once()(name, demand, _until)

    with Serving(tmp_path, issue=issue) as it:
        reply = it.get(f"{PATH}?min_ttl=3d")
        assert demands[-1] == 3 * 86400.0
        # No ticket of this server ever lasts so long.
        assert (reply.status, json.loads(reply.body)["title"]) == (502, "ConfigError")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/tickets", "/v1/tickets/", "/v2/tickets/support", "/healthz/", "//"])
def test_there_is_nothing_else(it: Serving, path: str) -> None:
    reply = it.get(path)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LIST", "FOO"])
def test_nothing_here_is_changed(it: Serving, method: str) -> None:
    reply = it.get(PATH, method=method)
    if method == "LIST":  # Vault's own, which the parser does not know
        assert reply.status == 405
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


FAILURES = [
    (errors.GrantRejected("dead", "make a new one", code="invalid_grant"), 502),
    (errors.GrantMissing("none", "store one"), 502),
    (errors.StoredDataInvalid("bad", "look"), 502),
    (errors.SaveFailed("lost", "look"), 502),
    (errors.ProtocolError("odd", "look"), 502),
    (errors.VaultDenied("no", "ask"), 502),
    (errors.ConfigError("wrong", "correct it"), 502),
    (errors.VaultTicketError("bug", "report"), 502),
    (errors.VaultUnreachable("away", "later"), 503),
    (errors.EndpointUnavailable("busy", "later", retry_after=17.2), 503),
    (errors.Busy("held", "later"), 503),
]


@pytest.mark.parametrize(("error", "status"), FAILURES, ids=[type(error).__name__ for error, _ in FAILURES])
def test_a_failure_is_told_by_its_class_code_and_hint(
    tmp_path: Path, error: errors.VaultTicketError, status: int
) -> None:
    def issue(_name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        raise error

    with Serving(tmp_path, issue=issue) as it:
        reply = it.get(PATH)
        said = json.loads(reply.body)
        assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
        assert said.pop("code", "") == error.code
        assert said.pop("retry_after", None) == error.retry_after
        assert said == {
            "type": "about:blank",
            "title": type(error).__name__,
            "status": status,
            "detail": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        soon = "18" if isinstance(error, errors.EndpointUnavailable) else "5"
        expected = soon if status == 503 else None
        assert reply.headers.get("retry-after") == expected
        failed = [one for one in it.told if one.outcome == "failed"]
        assert [(one.profile, one.detail) for one in failed] == [("support", error.code or type(error).__name__)]


def test_an_unforeseen_error_tells_its_class_and_not_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(tmp_path) as it:

        def broken(_name: str, _min_ttl: float = 0.0) -> None:
            raise RuntimeError("s3cret-in-an-exception")

        monkeypatch.setattr(it.keeper, "ready", broken)
        reply = it.get(PATH)
        assert reply.status == 500
        assert b"RuntimeError" in reply.body
        assert b"s3cret" not in reply.body
    assert "s3cret" not in caplog.text


def test_health_and_readiness(tmp_path: Path) -> None:
    clock = ShiftedClock()
    profiles = {name: profile(name) for name in ("support", "billing")}
    with Serving(tmp_path, profiles=profiles, clock=clock, warm=False) as it:
        it.keeper.look_after("support")
        assert it.get("/healthz", tcp=True).status == 200
        waiting = it.get("/readyz", tcp=True)
        said = json.loads(waiting.body)
        assert (waiting.status, said["profiles"], said["usable"]) == (503, 2, 1)
        assert b"support" not in waiting.body
        assert b"billing" not in waiting.body
        it.keeper.look_after("billing")
        ready = it.get("/readyz", tcp=True)
        assert (ready.status, json.loads(ready.body)) == (200, {"profiles": 2, "usable": 2})
        clock.shift += 60  # nobody turns the scheduler
        assert it.get("/healthz", tcp=True).status == 503


def test_metrics_are_what_they_are_said_to_be(it: Serving) -> None:
    reply = it.get("/metrics", tcp=True)
    assert (reply.status, reply.body) == (200, b"# no metrics here\n")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_who_hands_out_is_told_what_was_given_to_whom(tmp_path: Path) -> None:
    with Serving(tmp_path) as it:
        kept = it.keeper.ready("support")
        assert kept is not None
        it.get(PATH)
        it.ticket(GOOD)
        it.ticket(OTHER)
        it.get(PATH, tcp=True)
        fingerprint = kept.ticket.access_token.fingerprint()
        first, *others = it.told
        assert first[:3] == ("hand-out", "support", "given")
        assert first.who.startswith("uid ")
        assert first.fingerprint == fingerprint
        assert others == [
            Event("hand-out", "support", "given", "token-good", fingerprint),
            Event("hand-out", "support", "denied", "a token"),
            Event("hand-out", "support", "denied", "nobody", "", "no token"),
        ]


class Slow:
    """An `issue` that hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.calls = 0

    def __call__(self, _name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        with self.lock:
            self.calls += 1
        assert self.go.wait(20)
        raise errors.VaultUnreachable("away")


def test_while_vault_hangs_what_is_in_memory_is_given_at_once_and_the_rest_is_told_to_come_back(
    tmp_path: Path,
) -> None:
    slow = Slow()
    profiles = {"support": profile("support")} | {f"p{number}": profile(f"p{number}") for number in range(100)}
    with Serving(tmp_path, profiles=profiles, warm=False) as it:
        it.keeper.look_after("support")
        it.keeper.replace({name: (one, name) for name, one in profiles.items()}, SourceOf(slow))
        most = (TICKET_THREADS + WAITING) // 2  # one caller gets half of the places
        clients = [in_thread(lambda name=f"p{number}": it.get(f"/v1/tickets/{name}")) for number in range(most)]  # type: ignore[misc]
        try:
            wait_until(lambda: slow.calls == TICKET_THREADS, "the threads at work")
            wait_until(lambda: it.waiting() == most, "no place left")
            refused = it.get("/v1/tickets/p99")
            assert refused.status == 503
            assert json.loads(refused.body)["title"] == "Busy"
            assert int(refused.headers["retry-after"]) > 0
            assert it.get(PATH).status == 200
            assert it.get("/healthz").status == 200
            assert it.get("/readyz").status == 503
            assert it.get("/metrics").status == 200
        finally:
            slow.go.set()
            for client in clients:
                client.join()


def test_many_that_wait_for_one_ticket_ask_for_it_once(tmp_path: Path) -> None:
    slow = Slow()
    with Serving(tmp_path, issue=slow, warm=False) as it:
        clients = [in_thread(lambda: it.get(PATH)) for _ in range(30)]
        try:
            wait_until(lambda: it.waiting() == 30, "all of them waiting")
            assert slow.calls == 1
        finally:
            slow.go.set()
            for client in clients:
                client.join()
        assert len([one for one in it.told if one.outcome == "failed"]) == 30


def test_a_vault_that_hangs_at_checks_keeps_nobody_from_the_unix_socket(tmp_path: Path) -> None:
    """And who was let in a moment ago is served from memory, however many strangers wait."""
    go = threading.Event()

    def check(token: Secret, _location: Location, _until: Deadline) -> access.Caller | None:
        if token == Secret(GOOD):
            return access.Caller("good")
        assert go.wait(20)
        raise errors.VaultUnreachable("away")

    with Serving(tmp_path, check=check) as it:
        assert it.ticket(GOOD).status == 200
        clients = [in_thread(lambda number=number: it.ticket(f"stranger-{number}")) for number in range(60)]  # type: ignore[misc]
        try:
            wait_until(lambda: it.waiting() == (CHECK_THREADS + WAITING) // 2, "no place left for strangers")
            assert it.ticket("one-more").status == 503
            assert it.ticket(GOOD).status == 200
            assert it.get(PATH).status == 200
        finally:
            go.set()
            for client in clients:
                client.join()


def test_one_caller_that_asks_too_fast_is_told_to_wait_and_others_are_not(tmp_path: Path) -> None:
    clock = ShiftedClock()
    with Serving(tmp_path, rate=5.0, clock=clock) as it:
        assert it.ticket(GOOD).status == 200  # from now on no stranger
        replies = [it.get(PATH) for _ in range(60)]
        refused = [one for one in replies if one.status == 429]
        assert refused
        assert json.loads(refused[0].body)["title"] == "Busy"
        assert refused[0].headers["retry-after"] == "1"
        assert it.ticket(GOOD).status == 200
        clock.shift += 10
        assert it.get(PATH).status == 200


def test_inventing_tokens_gains_nothing(tmp_path: Path) -> None:
    """All strangers share one rate, which neither probes nor known callers feel."""
    with Serving(tmp_path, rate=5.0) as it:
        assert it.ticket(GOOD).status == 200
        statuses = {it.ticket(f"stranger-{number}").status for number in range(60)}
        assert statuses == {403, 429}
        assert it.ticket(GOOD).status == 200
        assert it.get("/healthz", tcp=True).status == 200


def test_a_new_configuration_forgets_what_was_said_of_tokens(tmp_path: Path) -> None:
    with Serving(tmp_path) as it:
        assert it.ticket(GOOD).status == 200
        it.web.replace(lambda _token, _location, _until: None, 100.0)
        assert it.ticket(GOOD).status == 403
        it.web.replace(None, 100.0)
        assert it.ticket(GOOD).status == 403


def test_a_new_ticket_is_given_from_the_moment_it_is_there(tmp_path: Path) -> None:
    clock = ShiftedClock()
    with Serving(tmp_path, clock=clock) as it:
        before = it.get(PATH).body
        clock.shift += 3000
        it.keeper.look_after("support")
        assert it.get(PATH).body != before


def test_the_servers_threads_and_files_are_gone_when_it_stops(tmp_path: Path) -> None:
    before = set(threading.enumerate())

    def held() -> tuple[int, set[threading.Thread]]:
        return len(list(Path("/proc/self/fd").iterdir())), set(threading.enumerate()) - before

    with Serving(tmp_path / "first") as it:
        it.get(PATH)
    files, _ = held()
    for number in range(3):
        with Serving(tmp_path / str(number), warm=False) as it:
            idle = it.unix()
            it.get(PATH)
            it.get("/metrics")
            it.ticket()
        idle.close()
        wait_until(lambda: not held()[1], "the threads gone")
        assert not it.path.exists()
    assert held()[0] <= files


def test_an_answer_under_way_is_finished_when_the_server_stops(tmp_path: Path) -> None:
    slow = Slow()
    replies = []
    with Serving(tmp_path, issue=slow, warm=False) as it:
        client = in_thread(lambda: replies.append(it.get(PATH).status))
        wait_until(lambda: slow.calls == 1, "the request under way")
        stopping = in_thread(lambda: it.server.stop(10.0))
        wait_until(lambda: not it.path.exists() or not _accepts(it), "no new connections")
        slow.go.set()
        client.join()
        stopping.join()
    assert replies == [503]


def _accepts(it: Serving) -> bool:
    try:
        it.unix().close()
    except OSError:
        return False
    return True
