"""Clients that are not at hand, Bazel and the runner of GitHub Actions: what they would send and read, by its text."""

import json
import re
from pathlib import Path

import pytest

from tests.clients.caller import DOCUMENT, REASON, REASON_CODE, Caller, snippets
from tests.e2e.site import seconds
from tests.support.cli import Host, Result

URI = "https://registry.example.org/a/b"


def bazel(caller: Caller, question: str) -> Result:
    caller.place("tools/ticket-helper")
    return caller.run(caller.host.home / "tools" / "ticket-helper", "get", stdin=question)


def test_bazel_gets_a_header_for_the_profile_s_hosts(caller: Caller) -> None:
    caller.configure(hosts=["registry.example.org"])
    values = []
    for _ in range(2):
        done = bazel(caller, json.dumps({"uri": URI}))
        assert (done.code, done.err) == (0, "")
        found = done.json()
        (value,) = found["headers"]["Authorization"]
        assert value.startswith("Bearer ")
        assert caller.api.access_alive(value.removeprefix("Bearer "))
        assert seconds(found["expires"]) == seconds(caller.site.get().json()["Expiration"])
        values.append(value)
        caller.renew()
    assert values[0] != values[1]


@pytest.mark.parametrize("uri", ["https://other.example.org/", "http://git.example.org/", "grpc://x", "x"])
def test_bazel_gets_no_header_for_other_uris_and_vault_is_not_asked(alone: Host, uri: str) -> None:
    done = alone.run("get", "support", "--format", "bazel", stdin=json.dumps({"uri": uri}))
    assert done == Result(0, '{"headers": {}}\n', "")


def test_bazel_is_told_our_reason(caller: Caller) -> None:
    caller.configure(hosts=["registry.example.org"])
    caller.break_grant()
    done = bazel(caller, json.dumps({"uri": URI}))
    assert (done.code, done.out) == (REASON_CODE, "")
    assert REASON in done.err


@pytest.mark.parametrize("question", ["", "{}", "no JSON"])
def test_a_question_that_is_not_bazel_s(alone: Host, question: str) -> None:
    done = alone.run("get", "support", "--format", "bazel", stdin=question)
    assert (done.code, done.out) == (78, "")
    assert "--credential_helper" in done.err


# -- GitHub Actions


def step(caller: Caller, output: Path) -> Result:
    command = re.findall(r"run: (vault-ticket .*)", caller.snippet("github-actions"))[0]
    caller.host.environ["GITHUB_OUTPUT"] = str(output)
    return caller.sh(command)


def test_a_step_masks_the_token_and_has_it_as_an_output(caller: Caller, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("before=1\n")
    for _ in range(2):
        output.write_text("before=1\n")
        done = step(caller, output)
        assert (done.code, done.err) == (0, "")
        found = dict(line.split("=", 1) for line in output.read_text().splitlines())
        assert set(found) == {"before", "access_token"}
        assert caller.api.access_alive(found["access_token"])
        assert done.out == f"::add-mask::{found['access_token']}\n"  # nothing else is in the log
        caller.renew()


def test_a_step_fails_with_our_reason_and_has_no_output(caller: Caller, tmp_path: Path) -> None:
    caller.break_grant()
    done = step(caller, tmp_path / "output")
    assert (done.code, done.out) == (REASON_CODE, "")
    assert REASON in done.err
    assert not (tmp_path / "output").exists()


def test_outside_of_a_step_nothing_is_printed(alone: Host) -> None:
    done = alone.run("get", "support", "--format", "github-actions")
    assert (done.code, done.out) == (78, "")
    assert "GITHUB_OUTPUT" in done.err


def test_an_output_that_is_not_there_is_a_failure_and_not_made(caller: Caller, tmp_path: Path) -> None:
    done = step(caller, tmp_path / "output")
    assert done.code == 74
    assert "can't be written" in done.err
    assert done.out.startswith("::add-mask::")  # whatever follows in the step, it is masked
    assert not (tmp_path / "output").exists()


# -- the document


def test_the_hosts_of_the_document(caller: Caller) -> None:
    """A port other than the scheme's own belongs to the name."""
    keys = caller.snippet("~/.config/vault-ticket/config.toml")
    caller.host.configure(f'{keys}token_url = "{caller.api.token_url}"\n')
    for host, served in (
        ("git.example.org", True),
        ("GIT.example.org:443", True),
        ("registry.example.org:8443", True),
        ("registry.example.org", False),
        ("git.example.org:8443", False),
    ):
        done = caller.host.run("terraform-credentials", caller.site.profile, "get", host)
        assert (done.code, bool(done.json())) == (0, served), host


def test_every_snippet_of_the_document_is_run_by_a_test() -> None:
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in snippets() if f'"{name}"' not in text] == []
    assert len(re.findall(r"^```\w", DOCUMENT.read_text(), re.MULTILINE)) == len(snippets())
