"""git: a credential helper. Its protocol for versions newer than the one at hand is tested by its text."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, Caller
from tests.clients.server import Guarded, Page
from tests.e2e.site import seconds
from tests.support.cli import Host
from tests.support.process import clean_env

HOST = "git.example.org"
ASKED = f"protocol=https\nhost={HOST}\n"
AUTHTYPE = "capability[]=authtype\ncapability[]=state\n"


def attributes(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def server(caller: Caller, tmp_path: Path) -> Iterator[Guarded]:
    """A repository with one commit, for whoever has a token."""
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    who = ["-c", "user.name=A Person", "-c", "user.email=a.person@example.org"]
    commands: list[list[str | Path]] = [
        ["init", "-q", "-b", "main", work],
        ["-C", work, *who, "commit", "-q", "--allow-empty", "-m", "The first"],
        ["clone", "-q", "--bare", work, bare],
        ["-C", bare, "update-server-info"],
    ]
    for command in commands:
        subprocess.run(["git", *command], env=clean_env(tmp_path), check=True, timeout=30)

    def find(path: str) -> Page | None:
        file = bare / path.removeprefix("/bare.git/")
        return Page(file.read_bytes(), "text/plain") if file.is_file() else None

    with Guarded(caller.api, find, basic=True) as server:
        caller.places[f"https://{HOST}"] = server.url
        caller.configure(hosts=[server.host])
        yield server


def clone(caller: Caller, server: Guarded, name: str) -> tuple[int, str]:
    done = caller.run("git", "clone", "-q", f"{server.url}/bare.git", name, env={"GIT_TERMINAL_PROMPT": "0"})
    return done.code, done.err


def test_git_clones_with_the_token_and_after_its_death_with_the_next_one(caller: Caller, server: Guarded) -> None:
    caller.place("~/.gitconfig")
    for name in ("one", "two"):
        assert clone(caller, server, name) == (0, "")
        assert (caller.host.home / name / ".git" / "refs" / "heads" / "main").is_file()
        caller.renew()
    assert len({one.token for one in server.admitted}) == 2
    version = re.findall(r"\d+", caller.run("git", "--version").out)
    bearer = [int(number) for number in version[:2]] >= [2, 46]
    assert {(one.scheme, one.user) for one in server.admitted} == {("Bearer", "") if bearer else ("Basic", "oauth2")}


def test_git_sends_the_user_name_that_it_has_for_the_host(caller: Caller, server: Guarded) -> None:
    with caller.place("~/.gitconfig").open("a") as config:
        config.write("    username = x-access-token\n")
    assert clone(caller, server, "one") == (0, "")
    assert {one.user for one in server.admitted if one.scheme == "Basic"} <= {"x-access-token"}


def test_git_shows_our_reason_and_fails(caller: Caller, server: Guarded) -> None:
    caller.place("~/.gitconfig")
    caller.break_grant()
    code, said = clone(caller, server, "one")
    assert code != 0
    assert REASON in said
    assert server.admitted == []


def test_git_gets_no_token_for_a_host_that_the_profile_does_not_name(caller: Caller, server: Guarded) -> None:
    caller.place("~/.gitconfig")
    caller.configure(hosts=[HOST])
    code, said = clone(caller, server, "one")
    assert code != 0
    assert "vault-ticket" not in said
    assert {one.token for one in server.seen} == {""}


# -- the protocol's text


def helper(host: Host, profile: str, operation: str, text: str) -> str:
    done = host.run("git-credential", profile, operation, stdin=text)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_a_git_that_knows_authtype_gets_a_bearer_token(caller: Caller) -> None:
    caller.configure(hosts=[HOST])
    out = helper(caller.host, caller.site.profile, "get", AUTHTYPE + ASKED + 'wwwauth[]=Bearer realm="x"\n\n')
    assert out.startswith("capability[]=authtype\nauthtype=Bearer\n")  # before what depends on it
    found = attributes(out)
    assert caller.api.access_alive(found["credential"])
    assert found["ephemeral"] == "1"
    expires = caller.site.get("--format", "json").json()["Expiration"]
    assert int(found["password_expiry_utc"]) == seconds(expires)
    assert not {"username", "password"} & set(found)


def test_a_git_that_does_not_gets_a_password(caller: Caller) -> None:
    caller.configure(hosts=[HOST])
    found = attributes(helper(caller.host, caller.site.profile, "get", ASKED + "\n"))
    assert set(found) == {"username", "password", "password_expiry_utc"}
    assert caller.api.access_alive(found["password"])


def test_what_a_git_can_be_told(alone: Host) -> None:
    assert helper(alone, "support", "capability", "") == "version 0\ncapability authtype\n"


@pytest.mark.parametrize("operation", ["store", "erase", "a-new-one"])
def test_other_operations_are_silent_and_ask_nobody(alone: Host, operation: str) -> None:
    assert helper(alone, "support", operation, ASKED + "username=x\npassword=y\n\n") == ""


@pytest.mark.parametrize(
    "asked",
    [
        "protocol=https\nhost=other.example.org\n",
        f"protocol=http\nhost={HOST}\n",  # readable on the way
        f"protocol=https\nhost={HOST}@evil.example\n",
        "",
        f"\n{ASKED}",
    ],
)
def test_other_hosts_get_nothing_and_vault_is_not_asked(alone: Host, asked: str) -> None:
    """Silence, so that git asks its next helper; no server is reached to find that out."""
    assert helper(alone, "support", "get", asked + "\n") == ""


def test_a_profile_without_hosts_serves_none(alone: Host) -> None:
    alone.configure({"profiles": {"support": {}}})
    assert helper(alone, "support", "get", ASKED + "\n") == ""
