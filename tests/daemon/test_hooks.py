"""Hooks: what a command is told, what it is never told, and that nothing it does holds the daemon up."""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vault_ticket_plugin.daemon import hooks
from vault_ticket_plugin.daemon.hooks import Hooks, Outcome
from vault_ticket_plugin.daemon.keeper import Change
from vault_ticket_plugin.errors import GrantRejected
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.daemon import HOOKS
from vault_ticket_plugin.settings.load import load_settings

TICKET = Ticket(Secret("an-access-token"), "Bearer", 1795478722.0, 1795482322.0)
ERROR = GrantRejected("the refresh token is dead", "Make a new one.", code="invalid_grant")
REFRESHED = Change("refreshed", "support", TICKET)
DEAD = Change("dead", "support", TICKET, ERROR)
# Writes what it was given to the file that is its first argument.
REPORT = """
import json, os, signal, sys
blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
ignored = [int(one) for one in signal.valid_signals()
           if signal.getsignal(one) is signal.SIG_IGN and one not in (signal.SIGPIPE, signal.SIGXFSZ)]
found = {
    "environ": dict(os.environ), "blocked": blocked, "ignored": ignored, "fds": sorted(os.listdir("/proc/self/fd")),
    "stdin": os.readlink("/proc/self/fd/0"), "leader": os.getpid() == os.getpgid(0), "arguments": sys.argv[2:],
}
with open(sys.argv[1] + ".new", "w") as file:
    json.dump(found, file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


def wait_for(reached: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < ends, what
        time.sleep(0.005)


def python(program: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *map(str, arguments))


def shell(script: str, *arguments: object) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script, "sh", *map(str, arguments))


class Told:
    def __init__(self) -> None:
        self.all: list[tuple[str, Outcome]] = []

    def __call__(self, what: str, outcome: Outcome) -> None:
        self.all.append((what, outcome))


@pytest.fixture
def told() -> Told:
    return Told()


Made = Callable[..., Hooks]


@pytest.fixture
def made(told: Told) -> Iterator[Made]:
    found: list[Hooks] = []

    def make(
        commands: Mapping[str, tuple[str, ...]], timeout: float = 30.0, environ: Mapping[str, str] = os.environ
    ) -> Hooks:
        found.append(Hooks(commands, timeout, environ, told))
        return found[-1]

    yield make
    for one in found:
        one.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "hooks"]


def report(made: Made, path: Path, change: Change, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    made({change.what: python(REPORT, path, "$HOME; *")}, environ=environ).emit(change)
    wait_for(path.exists, "the hook did not run")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# -- what a command is given


def test_a_hook_is_told_what_happened(made: Made, tmp_path: Path) -> None:
    found = report(made, tmp_path / "report", DEAD)
    ours = {name: value for name, value in found["environ"].items() if name.startswith("VAULT_TICKET_")}
    assert ours == {
        "VAULT_TICKET_EVENT": "dead",
        "VAULT_TICKET_PROFILE": "support",
        "VAULT_TICKET_EXPIRES_AT": "2026-11-24T01:05:22Z",
        "VAULT_TICKET_ERROR": "the refresh token is dead",
        "VAULT_TICKET_HINT": "Make a new one.",
        "VAULT_TICKET_EXIT_CODE": "77",
    }
    assert found["arguments"] == ["$HOME; *"]  # no shell has seen it


def test_what_there_is_nothing_to_say_about_is_not_set(made: Made, tmp_path: Path) -> None:
    """Not even where the daemon itself was started with it."""
    environ = {"VAULT_TICKET_ERROR": "an older one", "PATH": os.environ["PATH"]}
    found = report(made, tmp_path / "report", Change("refreshed", "support", None), environ)
    assert {name for name in found["environ"] if name.startswith("VAULT_TICKET_")} == {
        "VAULT_TICKET_EVENT",
        "VAULT_TICKET_PROFILE",
    }


def test_no_secret_of_the_daemon_s_is_passed_on(made: Made, tmp_path: Path) -> None:
    secret = {
        "VAULT_TOKEN": "s.canary",
        "BAO_TOKEN": "s.canary",
        "CREDENTIALS_DIRECTORY": "/run/credentials/canary",
        "HTTPS_PROXY": "http://me:canary@proxy:3128",
        "all_proxy": "me:canary@proxy:3128",
        "NOTIFY_SOCKET": "/run/canary",
        "LISTEN_FDS": "1",
    }
    kept = {"http_proxy": "http://proxy:3128", "VAULT_ADDR": "https://vault:8200", "LANG": "C.UTF-8"}
    found = report(made, tmp_path / "report", REFRESHED, secret | kept)
    assert kept.items() <= found["environ"].items()
    assert not secret.keys() & found["environ"].keys()
    assert "canary" not in str(found)
    assert "an-access-token" not in str(found)


def inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def test_a_hook_starts_clean(made: Made, tmp_path: Path) -> None:
    """Its own group, nothing to read, no descriptor of ours, no signal blocked or ignored although it is here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    handed_to_us = {text for text in os.listdir("/proc/self/fd") if inheritable(int(text))}
    try:
        found = report(made, tmp_path / "report", REFRESHED)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert (found["blocked"], found["ignored"]) == ([], [])
    assert found["stdin"] == "/dev/null"
    assert found["leader"] is True
    # The fourth is the one that lists them.
    assert set(found["fds"]) <= {"0", "1", "2", "3"} | handed_to_us


@pytest.mark.parametrize("text", ["a\0b", "\udcff", "x" * 1_000_000, "line\nline"])
def test_no_text_of_an_error_keeps_a_hook_from_running(text: str, made: Made, told: Told) -> None:
    made({"dead": ("true",)}).emit(Change("dead", "support", None, GrantRejected(text, text)))
    wait_for(lambda: told.all, "it did not run")
    assert told.all == [("dead", "done")]


# -- how it ends


def test_its_output_goes_to_the_log_in_bounds(
    made: Made, told: Told, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_LINES", 3)
    caplog.set_level(logging.INFO)
    made({"dead": shell("echo one; printf 'two\\033[31m\\n' >&2; yes | head -c 1000000; echo end")}).emit(DEAD)
    wait_for(lambda: told.all, "it did not end")
    assert told.all == [("dead", "done")]
    assert [record.getMessage() for record in caplog.records] == [
        "hook dead of support: one",
        "hook dead of support: two [31m",
        "hook dead of support: y",
    ]


@pytest.mark.parametrize(
    ("command", "outcome", "said"),
    [
        (shell("exit 3"), "failed", "/bin/sh ended with exit code 3"),
        (shell("kill -9 $$"), "failed", "/bin/sh ended with signal 9"),
        (("/nowhere/tell",), "not-run", "/nowhere/tell can't be run: No such file or directory"),
        (("a\0b",), "not-run", "can't be run"),
    ],
)
def test_a_hook_that_fails_is_told_and_nothing_more(
    command: tuple[str, ...], outcome: str, said: str, made: Made, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    made({"dead": command}).emit(DEAD)
    wait_for(lambda: told.all, "it did not end")
    assert told.all == [("dead", outcome)]
    assert said in caplog.text


def alive(pid: int) -> bool:
    """Whether it still runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_hook_that_takes_too_long_is_ended_with_all_that_it_started(made: Made, told: Told, tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! > $1/child; sleep 1000"
    made({"dead": shell(script, tmp_path)}, timeout=0.5).emit(DEAD)
    wait_for(lambda: told.all, "it was not ended")
    assert told.all == [("dead", "timed-out")]
    child = (tmp_path / "child").read_text().strip()
    wait_for(lambda: not alive(int(child)), "its child still runs")


def test_what_a_hook_leaves_behind_is_ended_with_it(made: Made, told: Told, tmp_path: Path) -> None:
    """A child that keeps the output open does not keep us waiting."""
    made({"dead": shell("sleep 1000 & echo $! > $1/child", tmp_path)}).emit(DEAD)
    wait_for(lambda: told.all, "it did not end")
    assert told.all == [("dead", "done")]
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())), "its child still runs")


# -- many at once


def test_nothing_runs_for_what_no_hook_is_configured_for(made: Made, told: Told) -> None:
    one = made({"dead": ("true",)})
    one.emit(REFRESHED)
    one.close()
    assert told.all == []
    assert not one._threads


# Notes in a folder when it begins and when it ends.
SPAN = "touch $1/$VAULT_TICKET_PROFILE.$VAULT_TICKET_EVENT.$$; while [ ! -e $1/go ]; do sleep 0.01; done"


def test_one_profile_s_hooks_run_one_after_the_other_in_order(made: Made, told: Told, tmp_path: Path) -> None:
    script = "echo $VAULT_TICKET_EVENT >> $1/log; while [ ! -e $1/go ]; do sleep 0.01; done"
    command = shell(script, tmp_path)
    one = made({"failing": command, "dead": command, "recovered": command})
    for what in ("failing", "dead", "recovered"):
        one.emit(Change(what, "support", None))
    one.emit(Change("dead", "billing", None))
    log = tmp_path / "log"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 2, "they did not begin")
    assert sorted(log.read_text().split()) == ["dead", "failing"]  # one of each profile
    (tmp_path / "go").touch()
    wait_for(lambda: len(told.all) == 4, "they did not end")
    assert log.read_text().split()[2:] == ["dead", "recovered"]


def test_ten_thousand_profiles_that_fail_at_once_start_a_few_processes(
    made: Made, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_WAITING", 9000)
    one = made({"failing": shell(SPAN, tmp_path)})
    for number in range(10_000):
        one.emit(Change("failing", f"p{number}", None))
    wait_for(lambda: len(list(tmp_path.iterdir())) == hooks.AT_ONCE, "they did not begin")
    assert len(one._threads) == hooks.AT_ONCE
    # What is under way does not wait any more; the first may have been taken while the others came.
    assert 1000 - hooks.AT_ONCE <= Counter(told.all)["failing", "dropped"] <= 1000
    (tmp_path / "go").touch()
    wait_for(lambda: ("failing", "done") in told.all, "none ended")
    one.close()
    counts = Counter(outcome for _, outcome in told.all)
    assert counts.total() == 10_000
    assert counts["done"] < 9000


def test_a_new_ticket_takes_the_place_of_one_that_waits(made: Made, told: Told, tmp_path: Path) -> None:
    """A hook that is slower than refreshes are is told of the newest."""
    script = "echo $VAULT_TICKET_EXPIRES_AT >> $1/log; while [ ! -e $1/go ]; do sleep 0.01; done"
    one = made({"refreshed": shell(script, tmp_path)})
    one.emit(REFRESHED)
    wait_for((tmp_path / "log").exists, "it did not begin")
    for hour in range(1, 50):
        one.emit(Change("refreshed", "support", Ticket(Secret("x"), "Bearer", 0, 3600.0 * hour)))
    (tmp_path / "go").touch()
    wait_for(lambda: len(told.all) == 2, "they did not end")
    one.close()
    assert (tmp_path / "log").read_text().split() == ["2026-11-24T01:05:22Z", "1970-01-03T01:00:00Z"]


def test_other_commands_take_effect_at_once(made: Made, told: Told, tmp_path: Path) -> None:
    one = made({"dead": shell("echo old > $1/log", tmp_path)})
    one.replace({"recovered": shell("echo new > $1/log", tmp_path)}, 10.0)
    one.emit(DEAD)
    one.emit(Change("recovered", "support", None))
    wait_for(lambda: told.all, "it did not run")
    assert ((tmp_path / "log").read_text(), told.all) == ("new\n", [("recovered", "done")])


def test_the_end_waits_for_what_runs_and_starts_nothing(made: Made, told: Told, tmp_path: Path) -> None:
    one = made({"dead": shell("touch $1/began; sleep 0.3", tmp_path), "recovered": ("true",)})
    one.emit(DEAD)
    wait_for((tmp_path / "began").exists, "it did not begin")
    one.emit(Change("recovered", "support", TICKET))
    one.close()
    one.emit(DEAD)
    assert told.all == [("recovered", "dropped"), ("dead", "done")]


def test_all_that_was_told_can_be_let_run(made: Made, told: Told) -> None:
    """As --once does, where nobody would tell it again."""
    one = made({"dead": shell("sleep 0.1")})
    for number in range(3 * hooks.AT_ONCE):
        one.emit(Change("dead", f"p{number}", None, ERROR))
    one.finish(30)
    assert told.all == [("dead", "done")] * 3 * hooks.AT_ONCE


def test_what_is_let_run_is_not_waited_for_without_end(made: Made, told: Told, tmp_path: Path) -> None:
    one = made({"dead": shell("while [ ! -e $1/go ]; do sleep 0.01; done", tmp_path)})
    one.emit(DEAD)
    one.finish(0.05)
    assert told.all == []
    (tmp_path / "go").touch()


def test_the_end_waits_no_longer_than_the_time_out(made: Made, told: Told, tmp_path: Path) -> None:
    one = made({"dead": shell("touch $1/began; sleep 1000", tmp_path)}, timeout=0.5)
    one.emit(DEAD)
    wait_for((tmp_path / "began").exists, "it did not begin")
    one.close()
    assert told.all == [("dead", "timed-out")]


def test_the_documentation_has_each_hook_and_each_variable(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text().partition("\n## Hooks")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(HOOKS)
    assert hooks.details(DEAD).keys() <= set(re.findall(r"`(VAULT_TICKET_\w+)`", text))
    snippet = tmp_path / "config.toml"
    snippet.write_text(text.partition("```toml\n")[2].partition("```")[0])
    found = load_settings({"VAULT_TICKET_CONFIG": str(snippet), "HOME": str(tmp_path), "VAULT_ADDR": "https://vault"})
    assert set(found.daemon.hooks) == {"dead", "recovered"}
    assert f"first {hooks.MAX_LINES} lines" in text
    assert f"{hooks.MAX_WAITING:,} may wait" in text
