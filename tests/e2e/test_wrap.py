"""`get --wrap` and `unwrap`: a ticket is handed over by a token that works once."""

import os
import pty
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.e2e.site import Site, seconds
from tests.support.cli import COMMAND, Host, Result
from tests.support.process import wait_until


@pytest.fixture
def ready(site: Site) -> Site:
    site.store()
    return site


@pytest.fixture
def elsewhere(ready: Site, tmp_path: Path) -> Host:
    """A host that has Vault's address and no login."""
    host = Host(tmp_path / "elsewhere")
    host.environ = dict(ready.bao.env)
    return host


def wrap(site: Site, *more: str) -> str:
    done = site.get("--wrap", "60s", *more)
    assert (done.code, done.err) == (0, "")
    token, end = done.out.split("\n")
    assert end == ""
    assert " " not in token
    return token


def unwrap(host: Host, token: str, *more: str) -> Result:
    return host.run("unwrap", *more, stdin=f"{token}\n")


def test_what_was_wrapped_is_unwrapped_by_whoever_has_the_token_and_nothing_else(ready: Site, elsewhere: Host) -> None:
    done = unwrap(elsewhere, wrap(ready))
    assert (done.code, done.err) == (0, "")
    assert done.json() == ready.get().json()
    assert ready.api.access_alive(done.json()["AccessToken"])


def test_the_token_itself_says_nothing_of_the_ticket(ready: Site) -> None:
    token = wrap(ready)
    assert not ready.api.access_alive(token)
    assert ready.get("--format", "token").out.strip() not in token


def test_a_reader_can_wrap_too(ready: Site, elsewhere: Host) -> None:
    done = ready.reader.run("get", ready.profile, "--wrap", "1m")
    assert unwrap(elsewhere, done.out, "--format", "token").out == ready.get("--format", "token").out


@pytest.mark.parametrize("form", ["token", "header", "env", "curl", "terraform", "google", "kubernetes"])
def test_it_is_unwrapped_in_the_format_that_is_asked_for(ready: Site, elsewhere: Host, form: str) -> None:
    info = {"KUBERNETES_EXEC_INFO": '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}'}
    done = elsewhere.run("unwrap", "--format", form, stdin=wrap(ready), env=info)
    assert done.out == ready.get("--format", form, env=info).out


def test_a_second_unwrap_says_what_that_may_mean(ready: Site, elsewhere: Host) -> None:
    token = wrap(ready)
    assert unwrap(elsewhere, token).code == 0
    done = unwrap(elsewhere, token)
    assert (done.code, done.out) == (77, "")
    assert "was used already, or has expired" in done.err
    assert "somebody else may have" in done.err
    assert token not in done.err


def test_a_token_that_never_was_one_is_told_the_same_way(elsewhere: Host) -> None:
    done = unwrap(elsewhere, "s.0123456789abcdefghijklmn")
    assert (done.code, done.out) == (77, "")
    assert "was used already, or has expired" in done.err


def test_it_works_for_the_time_that_was_asked_and_no_longer(ready: Site, elsewhere: Host) -> None:
    token = ready.get("--wrap", "2s").out.strip()

    def gone() -> bool:
        return ready.bao.api("POST", "sys/wrapping/lookup", {"token": token}, token="")[0] != 200

    wait_until(gone, "the wrapping token's end")
    assert unwrap(elsewhere, token).code == 77


def test_the_ticket_lasts_at_least_as_long_as_it_may_stay_wrapped(site: Site, elsewhere: Host) -> None:
    """One that is good enough for `get` itself is not, for this."""
    site.store(None, "--no-verify")
    site.put_ticket(left=1500, token="an-older-ticket")
    assert unwrap(elsewhere, site.get("--wrap", "10m").out, "--format", "token").out == "an-older-ticket\n"
    done = unwrap(elsewhere, site.get("--wrap", "40m").out)
    assert site.api.access_alive(done.json()["AccessToken"])
    assert seconds(done.json()["Expiration"]) > time.time() + 2400


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"access_token": "x", "token_type": "Bearer", "issued_at": "2020-01-01T00:00:00Z",
          "expires_at": "2020-01-01T01:00:00Z"}, "the ticket that was wrapped ended at 2020-01-01T01:00:00Z"),
        ({"password": "x"}, "what was wrapped is no ticket"),
    ],
    ids=["expired", "another"],
)  # fmt: skip
def test_what_is_no_valid_ticket_is_not_handed_out(
    ready: Site, elsewhere: Host, data: dict[str, str], said: str
) -> None:
    headers = {"X-Vault-Wrap-TTL": "60s"}
    _, answer = ready.bao.api("POST", "sys/wrapping/wrap", data, headers=headers)
    done = unwrap(elsewhere, answer["wrap_info"]["token"])
    assert (done.code, done.out) == (65, "")
    assert said in done.err


def test_an_ended_version_of_the_leased_path_that_somebody_wrapped_is_no_ticket(ready: Site, elsewhere: Host) -> None:
    """Vault wraps its 404, too."""
    assert ready.helper.run("revoke", ready.profile).code == 0
    headers = {"X-Vault-Wrap-TTL": "60s"}
    status, answer = ready.bao.api("GET", f"secret/data/{ready.ticket_path}", headers=headers)
    assert status == 200
    done = unwrap(elsewhere, answer["wrap_info"]["token"])
    assert (done.code, done.out) == (65, "")
    assert "what was wrapped is no ticket" in done.err


def test_without_the_right_to_wrap_it_says_which_one(ready: Site) -> None:
    cut = f"cut-{ready.profile}"
    ready.bao.write_policy(cut, f'path "secret/data/{ready.ticket_path}" {{ capabilities = ["read"] }}')
    ready.helper.environ["VAULT_TOKEN"] = ready.bao.token_for(cut, no_default_policy=True, ttl="5m")
    done = ready.get("--wrap", "60s")
    assert (done.code, done.out) == (77, "")
    assert "sys/wrapping/wrap" in done.err


@pytest.mark.parametrize(
    "args",
    [["get", "--wrap", "0"], ["get", "--wrap", "60s", "--format", "token"], ["unwrap", "--format", "bazel"]],
    ids=" ".join,
)
def test_usage_errors_ask_nobody(site: Site, args: list[str]) -> None:
    mark = site.bao.mark()
    assert site.helper.run(*args, stdin="s.token").code == 2
    assert not site.bao.requests_seen(since=mark)


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "\x1b"])
def test_what_can_not_be_a_token_is_not_sent(site: Site, text: str) -> None:
    mark = site.bao.mark()
    done = site.helper.run("unwrap", site.profile, stdin=text)
    assert done.code == 2
    assert "that is no wrapping token" in done.err
    assert not site.bao.requests_seen(since=mark)


def test_at_a_terminal_the_token_is_asked_for_and_not_shown(ready: Site, elsewhere: Host) -> None:
    token = wrap(ready)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "unwrap", "--format", "token"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=elsewhere.env(),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        assert process.stderr is not None
        prompt = process.stderr.read(len("Wrapping token (not shown)"))
        # What is typed before the terminal is told to show nothing is thrown away.
        wait_until(lambda: not termios.tcgetattr(ours)[3] & termios.ECHO, "a terminal that shows nothing")
        os.write(ours, f"{token}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(ours)
    assert prompt == b"Wrapping token (not shown)"
    assert out.decode() == ready.get("--format", "token").out
    assert token.encode() not in err


def test_who_has_other_profiles_needs_none_for_it(ready: Site, elsewhere: Host) -> None:
    elsewhere.configure({"profiles": {"billing": {}}})
    assert unwrap(elsewhere, wrap(ready), "--format", "token").code == 0
