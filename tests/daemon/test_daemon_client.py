"""Commands on a host whose configuration names a daemon's socket, and no Vault: what each of them does."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.test_daemon_client import Answer, daemon, given, problem
from tests.support.cli import Host
from vault_ticket_plugin.errors import ConfigError, GrantRejected
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret

NAME = "support"


@pytest.fixture
def alone(host: Host) -> Host:
    """Its configuration has one line."""
    host.configure(f'socket = "unix:{host.folder}/socket"\n')
    return host


def socket_of(host: Host) -> Path:
    return host.folder / "socket"


def now_given(left: float = 3000.0) -> Answer:
    """A ticket of an hour, with Vault's clock as this host's."""
    now = float(int(time.time()))
    return given(Ticket(Secret("given-1"), "Bearer", now + left - 3600, now + left), now)


DENIED = problem(ConfigError("x"), title="Forbidden", status=403)


@pytest.fixture
def asked(alone: Host) -> Iterator[list[str]]:
    with daemon(socket_of(alone), lambda _: now_given()) as asked:
        yield asked


def test_one_line_of_configuration_is_enough(alone: Host, asked: list[str]) -> None:
    done = alone.run("get", NAME, "--format", "token")
    assert (done.code, done.out, done.err) == (0, "given-1\n", "")
    assert asked == ["/v1/tickets/support"]
    again = alone.run("get", NAME, "--format", "token")
    assert (again.code, again.out) == (0, "given-1\n")
    assert len(asked) == 1, "the cache and the warm path answer as ever"


def test_how_much_must_be_left_is_passed_on(alone: Host, asked: list[str]) -> None:
    assert alone.run("get", NAME, "--min-ttl", "5m").code == 0
    assert asked == ["/v1/tickets/support?min_ttl=300s"]


def test_with_another_socket_the_cached_ticket_is_another_daemons(alone: Host, asked: list[str]) -> None:
    assert alone.run("get", NAME).code == 0
    alone.configure(f'socket = "unix:{alone.folder}/other"\n')
    done = alone.run("get", NAME)
    assert (done.code, done.out) == (69, "")
    assert asked == ["/v1/tickets/support"]


@pytest.mark.parametrize("more", [[], ["--file"]])
def test_exec_runs_its_command_with_it(alone: Host, asked: list[str], more: list[str]) -> None:
    script = 'printf %s "${TICKET_ACCESS_TOKEN:-$(cat "$BEARER_TOKEN_FILE")}"'
    alone.config_file.write_text(f"cache = false\n{alone.config_file.read_text()}")
    done = alone.run("exec", NAME, *more, "--", "sh", "-c", script)
    assert (done.code, done.out, done.err) == (0, "given-1", "")
    assert asked == ["/v1/tickets/support"]


def test_credential_helpers_answer_by_it(alone: Host, asked: list[str]) -> None:
    text = alone.config_file.read_text()
    alone.config_file.write_text(f'{text}\n[profiles.{NAME}]\nhosts = ["git.example.org"]\n')
    question = "protocol=https\nhost=git.example.org\n\n"
    done = alone.run("git-credential", NAME, "get", stdin=question)
    assert done.code == 0
    assert "password=given-1" in done.out
    assert asked == ["/v1/tickets/support"]


@pytest.mark.parametrize("command", [["get", NAME, "--force"], ["get", NAME, "--wrap", "60s"], ["revoke", NAME]])
def test_what_takes_vault_itself_says_so(alone: Host, asked: list[str], command: list[str]) -> None:  # noqa: ARG001
    done = alone.run(*command)
    assert (done.code, done.out) == (78, "")
    assert "no Vault address is configured" in done.err
    assert alone.run("get", NAME).code == 0, "that is no failure of the daemon's to remember"


def test_nobody_there_is_unreachable_and_names_both(alone: Host) -> None:
    done = alone.run("get", NAME)
    assert (done.code, done.out) == (69, "")
    assert f"unix:{socket_of(alone)}" in done.err
    assert "no Vault address is configured" in done.err


def test_with_the_daemon_gone_a_cached_ticket_is_used_to_its_end(alone: Host) -> None:
    with daemon(socket_of(alone), lambda _: now_given(left=900)):
        assert alone.run("get", NAME).code == 0
    socket_of(alone).unlink()
    done = alone.run("get", NAME, "--format", "token")
    assert (done.code, done.out) == (0, "given-1\n")
    assert "gives no answer" in done.err


def test_who_is_not_let_in_is_told_how(alone: Host) -> None:
    with daemon(socket_of(alone), lambda _: DENIED):
        done = alone.run("get", NAME)
    assert (done.code, done.out) == (77, "")
    assert f"allow = {{ users = [{os.geteuid()}] }}" in done.err


def status(host: Host) -> tuple[int, dict[str, object]]:
    done = host.run("status", "--format", "json", env={"VAULT_TICKET_PROFILE": NAME})
    (found,) = json.loads(done.out)
    return done.code, found


def test_status_shows_what_the_daemon_hands_out(alone: Host, asked: list[str]) -> None:  # noqa: ARG001
    code, found = status(alone)
    assert (code, found["state"], found["problem"], found["lifetime"]) == (0, "fresh", None, 3600)
    assert 2900 < int(str(found["seconds_left"])) <= 3000


def test_status_shows_why_there_is_none(alone: Host) -> None:
    with daemon(socket_of(alone), lambda _: problem(GrantRejected("it is dead", "Store another."))):
        code, found = status(alone)
    assert (code, found["state"], found["problem"], found["hint"]) == (77, "unknown", "it is dead", "Store another.")
    code, found = status(alone)
    assert code == 69
    assert "no Vault address is configured" in str(found["problem"])


def doctor(host: Host) -> tuple[int, dict[str, dict[str, str]]]:
    done = host.run("doctor", NAME, "--format", "json")
    return done.code, {one["check"]: one for one in json.loads(done.out)["findings"]}


def test_the_doctor_tests_the_daemon_and_nothing_that_is_the_daemons_business(alone: Host, asked: list[str]) -> None:
    code, found = doctor(alone)
    assert (code, found["daemon"]["status"]) == (0, "pass")
    assert asked == ["/healthz", "/v1/tickets/support"]
    wanted = {"configuration", "runtime folder", "journal", "daemon", "agent interval"}
    assert {name for name, one in found.items() if one["status"] != "skip"} == wanted


def test_the_doctor_names_what_is_wrong_with_the_daemon(alone: Host) -> None:
    code, found = doctor(alone)
    assert (code, found["daemon"]["status"]) == (69, "fail")
    assert "gives no answer" in found["daemon"]["message"]
    with daemon(socket_of(alone), lambda _: DENIED):
        code, found = doctor(alone)
    assert (code, found["daemon"]["status"]) == (77, "fail")
    assert "allow =" in found["daemon"]["hint"]


def test_the_doctor_tells_the_daemons_own_failure(alone: Host) -> None:
    with daemon(socket_of(alone), lambda _: problem(GrantRejected("it is dead", "Store another."))):
        code, found = doctor(alone)
    assert (code, found["daemon"]["message"], found["daemon"]["hint"]) == (77, "it is dead", "Store another.")


def test_a_daemon_that_hands_out_but_no_longer_renews_is_warned_of(alone: Host) -> None:
    def serve(target: str) -> Answer:
        return Answer(503, {}, b"") if target == "/healthz" else now_given()

    with daemon(socket_of(alone), serve):
        code, found = doctor(alone)
    assert (code, found["daemon"]["status"]) == (78, "warn")


def test_where_vault_can_be_asked_too_a_daemon_that_is_away_is_a_warning(alone: Host) -> None:
    alone.environ["VAULT_ADDR"] = "http://127.0.0.1:9"
    away = doctor(alone)[1]["daemon"]
    with daemon(socket_of(alone), lambda _: DENIED):
        refused = doctor(alone)[1]["daemon"]
    for found in (away, refused):
        assert found["status"] == "warn"
        assert "Vault is asked" in found["message"]
