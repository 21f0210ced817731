"""botocore and the AWS CLI: a profile with credential_process."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, Caller, Program
from tests.clients.server import Guarded, Page
from tests.e2e.site import CLIENT
from tests.support.process import wait_until

IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::4711:user/x</Arn><UserId>x</UserId><Account>4711</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""

# Answers each line with the credentials that botocore would sign with at this moment.
SESSION = """
import json, os, sys
import botocore.session
session = botocore.session.Session(profile=os.environ["TEST_PROFILE"])
found = None
for _ in sys.stdin:
    try:
        found = found or session.get_credentials()
        answer = list(found.get_frozen_credentials())[:3]
    except Exception as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


def session(caller: Caller) -> Program:
    caller.place("~/.aws/config")
    # No other provider is asked: neither one in the environment nor the metadata of a cloud's machine.
    return Program(caller, SESSION, {"TEST_PROFILE": caller.site.profile, "AWS_EC2_METADATA_DISABLED": "true"})


def test_botocore_gets_the_client_id_and_the_token(caller: Caller) -> None:
    with session(caller) as program:
        key, secret, token = program.ask()
        assert (key, secret) == (CLIENT, token)
        assert caller.api.access_alive(token)
        assert program.ask() == [key, secret, token]


def test_without_a_configured_client_id_it_is_the_one_that_the_token_names(caller: Caller) -> None:
    caller.configure(client_id=None)
    with session(caller) as program:
        assert program.ask()[0] == CLIENT


def test_a_botocore_session_outlives_its_tokens(caller: Caller) -> None:
    """It asks for another before the first is dead, by the Expiration that we gave."""
    caller.api.behaviour.lifetime = 9
    caller.site.get("--force")
    with session(caller) as program:
        first = program.ask()[2]
        seen = [first]

        def renewed() -> bool:
            began = time.time()
            token = program.ask()[2]
            # A machine that stood still in between proves nothing.
            assert caller.api.access_alive(token) or time.time() - began > 1
            seen.append(token)
            return bool(token != first)

        wait_until(renewed, "another token")
        assert caller.api.access_alive(seen[-1])


def test_botocore_raises_our_reason(caller: Caller) -> None:
    caller.break_grant()
    with session(caller) as program:
        kind, said = program.ask()
    assert kind == "CredentialRetrievalError"
    assert REASON in said


@pytest.fixture
def service(caller: Caller) -> Iterator[Guarded]:
    with Guarded(caller.api, lambda _: Page(IDENTITY, "text/xml")) as server:
        caller.places["https://service.example.org"] = server.url
        caller.place("~/.aws/config")
        yield server


def test_aws_cli_signs_with_them_and_after_the_token_s_death_with_the_next(caller: Caller, service: Guarded) -> None:
    for _ in range(2):
        done = caller.sh(caller.snippet("aws"))
        assert done.code == 0, done.err
        assert done.json()["Account"] == "4711"
        caller.renew()
    first, second = (one.token for one in service.admitted)
    assert first != second


def test_aws_cli_shows_our_reason(caller: Caller, service: Guarded) -> None:
    caller.break_grant()
    done = caller.sh(caller.snippet("aws"))
    assert done.code != 0
    assert done.out == ""
    assert REASON in done.err
    assert service.seen == []


def use_aws_cli_2(caller: Caller) -> None:
    """PyPI has version 1 only, which is in front where `scripts/test` runs."""
    for folder in caller.host.env()["PATH"].split(os.pathsep):
        program = Path(folder) / "aws"
        if os.access(program, os.X_OK) and caller.run(program, "--version").out.startswith("aws-cli/2"):
            path = caller.host.environ["PATH"]
            (caller.host.home / "bin").mkdir()
            (caller.host.home / "bin" / "aws").symlink_to(program)
            caller.host.environ["PATH"] = f"{caller.host.home / 'bin'}:{path}"
            return
    pytest.skip("no version 2 of the AWS CLI here")


def test_aws_cli_2_exports_them_and_after_the_token_s_death_the_next(caller: Caller, service: Guarded) -> None:
    use_aws_cli_2(caller)
    tokens = set()
    for _ in range(2):
        done = caller.sh(caller.snippet("aws2") + 'printf "%s %s" "$AWS_ACCESS_KEY_ID" "$AWS_SESSION_TOKEN"')
        assert done.code == 0, done.err
        key, token = done.out.split(" ")
        assert key == CLIENT
        assert caller.api.access_alive(token)
        tokens.add(token)
        caller.renew()
    assert len(tokens) == 2
    assert service.seen == []


def test_aws_cli_2_shows_our_reason(caller: Caller, service: Guarded) -> None:
    use_aws_cli_2(caller)
    caller.break_grant()
    done = caller.run("aws", "configure", "export-credentials", "--profile", caller.site.profile)
    assert done.code != 0
    assert REASON in done.err
    assert service.seen == []


def test_a_client_id_that_nobody_knows_is_told_before_anything_is_printed(caller: Caller) -> None:
    caller.configure(client_id=None)
    caller.site.put_ticket(left=3000, token="no-jwt")
    done = caller.site.get("--format", "aws")
    assert (done.code, done.out) == (78, "")
    assert f"client_id under [profiles.{caller.site.profile}]" in done.err
