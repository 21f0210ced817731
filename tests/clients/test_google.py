"""google-auth: an executable-sourced external account, whose token a security token service takes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, Caller, Program
from tests.clients.server import Guarded, Page
from tests.support import faults
from tests.support.cli import Host

ALLOWED = {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
# Answers each line with the token that the service gave for ours.
CLIENT = """
import json, sys
import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
found = None
for _ in sys.stdin:
    try:
        found = found or google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
        found.before_request(Request(), "GET", "https://storage.googleapis.com/", {})
        answer = found.token
    except GoogleAuthError as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def sts(caller: Caller) -> Iterator[Guarded]:
    """RFC 8693. Its own tokens are over at once, so that each use exchanges another of ours."""
    answer = {
        "access_token": "theirs",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 1,
    }
    page = Page(json.dumps(answer).encode(), token_field="subject_token")
    with Guarded(caller.api, lambda path: page if path == "/v1/token" else None) as server:
        caller.places["https://sts.googleapis.com"] = server.url
        yield server


def program(caller: Caller) -> Program:
    path: Path = caller.place("~/google.json")
    # Nobody else is asked which project it is.
    chosen = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "GOOGLE_CLOUD_PROJECT": "project"}
    return Program(caller, CLIENT, ALLOWED | chosen)


def test_google_auth_exchanges_the_token_and_after_its_death_the_next_one(caller: Caller, sts: Guarded) -> None:
    with program(caller) as client:
        assert client.ask() == "theirs"
        caller.renew()
        assert client.ask() == "theirs"
    first, second = (one.token for one in sts.admitted)
    assert first != second


def test_google_auth_raises_our_reason_from_standard_output(caller: Caller, sts: Guarded) -> None:
    caller.break_grant()
    with program(caller) as client:
        kind, said = client.ask()
    assert kind == "RefreshError"
    assert "code: GrantRejected" in said
    assert REASON in said
    assert sts.seen == []


def test_a_warning_of_ours_does_not_break_google_s_json(caller: Caller, sts: Guarded) -> None:
    """It merges standard error into standard output; the ticket is near its end, and can't be refreshed."""
    caller.site.put_ticket(left=100)
    caller.api.behaviour.next += [faults.oauth("invalid_request")]
    with program(caller) as client:
        kind, said = client.ask()
    assert kind == "OAuthError"  # the service does not know that ticket, but it was sent
    assert [one.token for one in sts.seen] == ["an-older-ticket"], said


def test_failures_are_quiet_unless_a_person_asks(caller: Caller) -> None:
    caller.break_grant()
    done = caller.site.get("--format", "google")
    assert (done.code, done.err) == (0, "")
    assert (done.json()["success"], done.json()["code"]) == (False, "GrantRejected")
    assert caller.site.get("--format", "google", "-v", "--force").err != ""


def test_a_broken_configuration_is_told_the_same_way(alone: Host) -> None:
    alone.configure({"profiles": {"support": {"hard_window": -1}}})
    done = alone.run("get", "support", "--format", "google")
    assert (done.code, done.err) == (0, "")
    assert done.json()["code"] == "ConfigError"
    assert "hard_window" in done.json()["message"]
