"""Docker: a credential helper, with the real program (which needs no engine to ask a registry) and with its SDK."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.caller import REASON, Caller, Program
from tests.clients.server import Guarded, Page
from tests.support.cli import Host, Result
from tests.support.tls import loopback_certificate
from vault_ticket_plugin.helpers.docker import NOT_FOUND

docker = pytest.mark.skipif(not shutil.which("docker"), reason="no docker here")

REGISTRY = "registry.example.org"
# Answers each line with what the SDK would send to the engine for this registry.
SDK = """
import json, sys
from docker.auth import load_config
from docker.errors import DockerException
for _ in sys.stdin:
    try:
        answer = load_config().resolve_authconfig(sys.argv[1])
    except DockerException as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""


def image() -> dict[str, Page]:
    """A registry's pages for `acme/app:1.0`."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    of = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": of, "layers": []}
    return {
        "/v2/": Page(b"{}"),
        "/v2/acme/app/manifests/1.0": Page(json.dumps(manifest).encode(), kind),
        f"/v2/acme/app/blobs/{digest}": Page(config, "application/octet-stream"),
    }


def installed(caller: Caller, host: str) -> None:
    caller.places[REGISTRY] = host
    caller.configure(hosts=[host])
    script = caller.place("~/.local/bin/docker-credential-vault-ticket")
    caller.place("~/.docker/config.json")
    caller.host.environ["PATH"] = f"{script.parent}:{caller.host.environ['PATH']}"


@pytest.fixture
def start(caller: Caller, tmp_path: Path) -> Iterator[Callable[[str], Guarded]]:
    """A registry over HTTPS that wants the token as a password, itself or at its token service."""
    tls, pages = loopback_certificate(tmp_path), image()

    def find(path: str) -> Page | None:
        if path != "/token":
            return pages.get(path)
        ticket = (caller.site.ticket() or {})["data"]["access_token"]
        return Page(json.dumps({"token": ticket}).encode())

    with Guarded(caller.api, find, basic=True, tls=tls) as server:

        def started(asks: str) -> Guarded:
            if asks == "token":
                server.challenge = f'Bearer realm="{server.url}/token",service="test"'
            installed(caller, server.host)
            caller.host.environ["SSL_CERT_FILE"] = str(tls.ca)
            return server

        yield started


def inspect(caller: Caller, server: Guarded) -> Result:
    return caller.run("docker", "manifest", "inspect", f"{server.host}/acme/app:1.0")


@docker
@pytest.mark.parametrize("asks", ["password", "token"])
def test_docker_shows_the_token_and_after_its_death_the_next_one(
    caller: Caller, start: Callable[[str], Guarded], asks: str
) -> None:
    """To a token service too: as a password, not as a refresh token."""
    server = start(asks)
    for _ in range(2):
        done = inspect(caller, server)
        assert done.code == 0, done.err
        assert done.json()["schemaVersion"] == 2
        caller.renew()
    shown = [one for one in server.admitted if one.scheme == "Basic"]
    assert {one.user for one in shown} == {"oauth2"}
    assert {one.path == "/token" for one in shown} == {asks == "token"}
    assert len({one.token for one in shown}) == 2


@docker
def test_docker_lets_our_reason_be_seen_and_goes_on_without_credentials(
    caller: Caller, start: Callable[[str], Guarded]
) -> None:
    server = start("password")
    caller.break_grant()
    done = inspect(caller, server)
    assert done.code != 0
    assert REASON in done.err
    assert server.admitted == []


@docker
def test_docker_sends_no_token_to_a_registry_that_the_profile_does_not_name(
    caller: Caller, start: Callable[[str], Guarded]
) -> None:
    server = start("password")
    caller.configure(hosts=[REGISTRY])
    done = inspect(caller, server)
    assert done.code != 0
    assert "vault-ticket:" not in done.err
    assert {one.token for one in server.seen} == {""}


@docker
def test_docker_login_stores_what_it_got_from_here_and_nothing_else(
    caller: Caller, start: Callable[[str], Guarded]
) -> None:
    """Both tokens are good for the registry; the second one would be lost."""
    server = start("password")
    words = ("docker", "login", "--password-stdin", "--username", "oauth2", server.host)
    token = caller.site.get("--format", "token").out.strip()
    done = caller.run(*words, stdin=token)
    assert done.code == 0, done.err
    assert token not in (caller.host.home / ".docker" / "config.json").read_text()
    caller.site.get("--force")
    assert caller.api.access_alive(token)
    done = caller.run(*words, stdin=token)
    assert done.code != 0
    assert f"no credentials are kept here for {server.host}, so there is nothing to store" in done.err
    assert token not in done.out + done.err


@docker
def test_docker_login_with_what_it_gets_from_here_works(caller: Caller) -> None:
    """An engine is asked whether the registry takes it; afterwards the same comes back to be stored."""
    pages = {"_ping": Page(b"OK", "text/plain", open=True), "auth": Page(b'{"Status": "Welcome"}', open=True)}
    installed(caller, REGISTRY)
    with Guarded(caller.api, lambda path: pages.get(path.rpartition("/")[2])) as engine:
        done = caller.run("docker", "--host", f"tcp://{engine.host}", "login", REGISTRY)
    assert done.code == 0, done.err
    assert "Username: oauth2" in done.out + done.err
    assert "Welcome" in done.out


@docker
def test_docker_logout_is_told_that_nothing_is_kept_here(caller: Caller) -> None:
    installed(caller, REGISTRY)
    done = caller.run("docker", "logout", REGISTRY)
    assert f"no credentials are kept here for {REGISTRY}, so there is nothing to erase" in done.err


# -- the SDK


def test_the_sdk_has_a_password_and_after_the_tokens_death_the_next_one(caller: Caller) -> None:
    installed(caller, REGISTRY)
    found = []
    with Program(caller, SDK, words=[REGISTRY]) as client:
        for _ in range(2):
            found.append(client.ask())
            assert caller.api.access_alive(found[-1]["Password"])
            caller.renew()
    assert {(one["ServerAddress"], one["Username"]) for one in found} == {(REGISTRY, "oauth2")}
    assert found[0]["Password"] != found[1]["Password"]


def test_the_sdk_raises_our_reason(caller: Caller) -> None:
    installed(caller, REGISTRY)
    caller.break_grant()
    with Program(caller, SDK, words=[REGISTRY]) as client:
        assert REASON in client.ask()


def test_the_sdk_has_no_credentials_for_a_registry_that_the_profile_does_not_name(caller: Caller) -> None:
    """None, and no error: it then goes on as somebody unknown."""
    installed(caller, REGISTRY)
    caller.configure(hosts=["another.example.org"])
    with Program(caller, SDK, words=[REGISTRY]) as client:
        assert client.ask() is None


# -- the protocol's text


def helper(host: Host, *words: str, stdin: str = "") -> Result:
    return host.run("docker-credential", "support", *words, stdin=stdin)


@pytest.mark.parametrize("address", ["git.example.org", "https://git.example.org/v1/", "HTTPS://git.example.org:443\n"])
def test_the_answer_names_the_address_as_it_was_asked(caller: Caller, address: str) -> None:
    caller.configure(hosts=["git.example.org"])
    done = caller.host.run("docker-credential", caller.site.profile, "get", "--username", "robot", stdin=address)
    found = done.json()
    assert caller.api.access_alive(found.pop("Secret"))
    assert found == {"ServerURL": address.strip(), "Username": "robot"}


@pytest.mark.parametrize(
    "address",
    [
        "other.example.org",
        "https://index.docker.io/v1/",
        "http://git.example.org",  # readable on the way
        "git.example.org:8443",
        "https://git.example.org@evil.example",
        "https://evil.example?git.example.org",
        "https://evil.example/https://git.example.org",
        "ftp://git.example.org",
        "[",
    ],
)
def test_other_registries_have_no_credentials_and_vault_is_not_asked(alone: Host, address: str) -> None:
    """Nothing on standard error either: this is no failure."""
    assert helper(alone, "get", stdin=address) == Result(1, f"{NOT_FOUND}\n", "")


@pytest.mark.parametrize("verb", ["get", "erase"])
def test_a_question_without_an_address(alone: Host, verb: str) -> None:
    assert helper(alone, verb) == Result(1, "no credentials server URL\n", "")


def test_a_list_names_the_profiles_hosts(alone: Host) -> None:
    assert helper(alone, "list").json() == {"git.example.org": "oauth2"}
    alone.configure({"profiles": {"support": {}}})
    assert helper(alone, "list").json() == {}


@pytest.mark.parametrize(
    "given",
    [
        {"ServerURL": "git.example.org", "Username": "a.person", "Secret": "mark-1"},
        {"ServerURL": "https://a.person:mark-1@index.docker.io/v1/", "Username": "oauth2", "Secret": "mark-1"},
        {"ServerURL": "git.example.org"},
        "mark-1",
    ],
)
def test_what_a_login_wants_to_store_is_refused_and_never_repeated(alone: Host, given: object) -> None:
    """Whatever the registry: a new password must not be lost silently."""
    done = helper(alone, "store", stdin=json.dumps(given))
    assert done.code == 1
    assert "so there is nothing to store" in done.out
    assert "so there is nothing to store" in done.err
    assert "mark-1" not in done.out + done.err


@pytest.mark.parametrize("address", ["git.example.org", "http://git.example.org", "https://git.example.org"])
def test_what_a_logout_wants_to_erase_is_refused(alone: Host, address: str) -> None:
    done = helper(alone, "erase", stdin=address)
    assert (done.code, "nothing to erase" in done.out) == (1, True)


def test_there_is_nothing_to_erase_for_another_registry(alone: Host) -> None:
    assert helper(alone, "erase", stdin="https://index.docker.io/v1/") == Result(0, "", "")


@pytest.mark.parametrize("name", ["", "<token>"])
def test_no_user_name_that_means_something_else(alone: Host, name: str) -> None:
    """By `<token>` Docker knows a refresh token."""
    done = helper(alone, "get", "--username", name, stdin="git.example.org")
    assert (done.code, done.out) == (2, "")
    assert "--username" in done.err
