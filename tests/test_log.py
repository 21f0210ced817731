"""What is said goes to standard error through our own logger; the root logger is left alone."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest

from vault_ticket_plugin import log
from vault_ticket_plugin.secret import Secret

ours = logging.getLogger("vault_ticket_plugin.somewhere")
theirs = logging.getLogger("urllib3.connectionpool")
MARK = "m4rk3d-secret"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger(log.NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (0, ["vault-ticket: a warning"]),
        (1, ["vault-ticket: info: a step", "vault-ticket: a warning"]),
        (2, ["vault-ticket: debug: a request", "vault-ticket: info: a step", "vault-ticket: a warning"]),
        (9, ["vault-ticket: debug: a request", "vault-ticket: info: a step", "vault-ticket: a warning"]),
    ],
)
def test_more_is_said_with_every_v_and_nothing_of_others(
    verbosity: int, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(verbosity, "text")
    ours.debug("a request")
    ours.info("a step")
    ours.warning("a warning")
    theirs.debug("of another library")
    out, err = capsys.readouterr()
    assert err.splitlines() == said
    assert out == ""


def test_the_root_logger_and_other_libraries_are_untouched() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, theirs.level, theirs.handlers[:]
    log.configure(2, "text")
    assert (root.handlers[:], root.level, theirs.level, theirs.handlers[:]) == before
    assert logging.getLogger(log.NAME).propagate is False


def test_configuring_twice_says_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(0, "text")
    log.configure(0, "text")
    ours.warning("once")
    assert capsys.readouterr().err == "vault-ticket: once\n"


def test_json_is_one_object_a_line_whatever_is_in_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(2, "json")
    ours.warning("two\nlines \u2028 and \ud800 %s", {"a": '"'})
    ours.error("failed", extra={"details": {"hint": "do\nthis", "exit_code": 75}})
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["message"] == "two\nlines \u2028 and \ud800 {'a': '\"'}"
    assert (first["level"], first["module"]) == ("warning", "vault_ticket_plugin.somewhere")
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert (second["hint"], second["exit_code"], second["level"]) == ("do\nthis", 75, "error")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_is_not_said_at_any_verbosity(log_format: log.LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(2, log_format)
    ours.debug("%s %r %20s", Secret(MARK), [Secret(MARK)], Secret(MARK))
    said = capsys.readouterr().err
    assert "<secret>" in said
    assert MARK not in said


def test_lines_go_to_the_standard_error_of_the_moment() -> None:
    """Not to one that was there at import: tests and daemons replace it."""
    log.configure(0, "text")
    (handler,) = logging.getLogger(log.NAME).handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
