"""The main job: store once, get any time, from anywhere."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

import vault_ticket_plugin
from tests.e2e.site import CLIENT, Site, seconds
from tests.support.bao import DevServer
from tests.support.cli import COMMAND, Host
from tests.support.emulator import Emulator
from tests.support.process import wait_until

# Takes the terminal on its standard input as its controlling one, as a login does, and becomes the program.
WITH_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """The program on a pseudo-terminal, and a person at it."""

    def __init__(self, host: Host, *args: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WITH_TERMINAL, COMMAND, *args],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=host.env(),
            start_new_session=True,
            text=True,
        )
        os.close(slave)

    def answer(self, question: str, text: str, hidden: bool = False) -> None:
        """Waits for the question, then types; what is `hidden` once the terminal shows nothing of it.

        Turning that off throws away what was typed before.
        """
        while question not in self.shown:
            self._read()
        if hidden:
            wait_until(lambda: not termios.tcgetattr(self._master)[3] & termios.ECHO, "a terminal that shows nothing")
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> tuple[int, str]:
        """The exit code and what standard output got; `shown` is then complete."""
        try:
            while True:
                self._read()
        except TimeoutError:
            raise
        except (OSError, EOFError):  # Linux says EIO when the other side is closed
            pass
        out, _ = self.process.communicate(timeout=30)
        os.close(self._master)
        return self.process.returncode, out

    def _read(self) -> None:
        if not select.select([self._master], [], [], 60)[0]:
            self.process.kill()
            raise TimeoutError(f"nothing more after {self.shown!r}")
        piece = os.read(self._master, 4096)
        if not piece:
            raise EOFError
        self.shown += piece.decode()


# -- store


def test_store_from_standard_input_keeps_what_the_token_was_rotated_to(site: Site) -> None:
    given = site.api.issue_grant(CLIENT)
    done = site.operator.run("store", site.profile, stdin=f"{given}\n")
    assert (done.code, done.out) == (0, "")
    assert f"secret/{site.grant_path}" in done.err
    grant = site.grant()
    assert grant is not None
    assert grant["data"]["refresh_token"] == site.api.newest(given) != given
    assert grant["data"]["client_id"] == CLIENT
    assert site.api.stats().refreshes == 1
    assert site.api.refresh_current(grant["data"]["refresh_token"])


def test_store_publishes_the_ticket_that_proved_the_token(site: Site) -> None:
    site.store()
    ticket = site.ticket()
    assert ticket is not None
    assert site.api.access_alive(ticket["data"]["access_token"])
    assert site.get("--format", "token").out.strip() == ticket["data"]["access_token"]
    assert site.api.stats().refreshes == 1


@pytest.mark.parametrize("dash", [False, True])
def test_store_from_a_file(site: Site, dash: bool) -> None:
    token = site.api.issue_grant(CLIENT)
    path = "-" if dash else str(site.operator.secret_file("token.txt", f"  {token}\n"))
    done = site.operator.run("store", site.profile, "--file", path, stdin=token if dash else None)
    assert (done.code, done.out) == (0, "")
    assert site.refresh_token() == site.api.newest(token)


def test_store_from_a_hidden_prompt(site: Site) -> None:
    """Neither the token nor a prompt reaches standard output, and the terminal does not echo the token."""
    token = site.api.issue_grant(CLIENT)
    site.configure(site.operator, client_id=None)
    terminal = Terminal(site.operator, "store", site.profile)
    terminal.answer("Refresh token", token, hidden=True)
    terminal.answer("Client ID", CLIENT)
    code, out = terminal.end()
    assert (code, out) == (0, ""), terminal.shown
    assert token not in terminal.shown
    assert site.refresh_token() == site.api.newest(token)


def test_an_interrupt_at_the_prompt_ends_it_and_stores_nothing(site: Site) -> None:
    terminal = Terminal(site.operator, "store", site.profile)
    terminal.answer("Refresh token", "half of it\x03", hidden=True)
    code, out = terminal.end()
    assert (code, out) == (130, "")
    assert "Traceback" not in terminal.shown
    assert site.grant() is None


def test_without_a_terminal_a_missing_client_id_is_asked_for_by_option(site: Site) -> None:
    site.configure(site.operator, client_id=None)
    token = site.api.issue_grant(CLIENT)
    done = site.operator.run("store", site.profile, stdin=token)
    assert (done.code, done.out) == (2, "")
    assert "--client-id" in done.err
    assert site.operator.run("store", site.profile, "--client-id", CLIENT, stdin=token).code == 0
    site.configure(site.helper, client_id=None)
    assert site.get("--force").code == 0  # it was stored with the grant


def test_store_unverified_asks_nobody(site: Site) -> None:
    token = site.store(None, "--no-verify")
    assert site.api.stats().requests == 0
    assert site.refresh_token() == token
    assert site.ticket() is None
    assert site.get().code == 0


def test_a_bad_token_leaves_the_stored_one_alone(site: Site) -> None:
    site.store()
    before = site.grant(), site.ticket()
    done = site.operator.run("store", site.profile, stdin="no-such-token\n")
    assert (done.code, done.out) == (77, "")
    assert "not valid" in done.err
    assert "Settings → Installation → Public API" in done.err
    assert (site.grant(), site.ticket()) == before


@pytest.mark.parametrize("text", ["", "\n \n", "two words", "two\nlines", "a\x07bell"])
def test_what_is_no_token_is_not_even_tried(site: Site, text: str) -> None:
    done = site.operator.run("store", site.profile, stdin=text)
    assert (done.code, done.out) == (2, "")
    assert "no refresh token" in done.err
    assert site.grant() is None
    assert site.api.stats().requests == 0


def test_a_token_as_an_argument_is_refused_and_not_repeated(site: Site) -> None:
    for arguments in (["mark+Zm9v/mark="], [site.profile, "mark-token"], [site.profile, "--token", "mark-token"]):
        done = site.operator.run("store", *arguments)
        assert (done.code, done.out) == (2, "")
        assert "mark" not in done.err
    assert site.grant() is None


def test_store_again_replaces_the_grant(site: Site) -> None:
    first, second = site.store(), site.store()
    assert site.refresh_token() == site.api.newest(second) != site.api.newest(first)
    assert site.get("--force").code == 0


# -- get


def test_every_format_prints_the_same_working_ticket(site: Site) -> None:
    site.store()
    token = site.get("--format", "token").out
    assert re.fullmatch(r"[!-~]+\n", token)
    token = token.strip()
    request = urllib.request.Request(site.api.tickets_url)
    name, _, value = site.get("--format", "header").out.rstrip("\n").partition(": ")
    request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    assert value == f"Bearer {token}"
    plain = site.get("--format", "json").json()
    assert set(plain) == {"Version", "AccessToken", "TokenType", "Expiration"}
    assert (plain["Version"], plain["AccessToken"], plain["TokenType"]) == (1, token, "Bearer")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", plain["Expiration"])
    assert 3500 < seconds(plain["Expiration"]) - time.time() < 3600
    assert site.get().json() == plain  # json is the default
    line = site.get("--format", "env").out
    shell = subprocess.run(
        ["/bin/sh", "-c", f'{line}printf %s "$TICKET_ACCESS_TOKEN"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == token


def test_success_says_nothing_on_standard_error(site: Site) -> None:
    site.store()
    for arguments in ([], ["--force"], ["--no-cache"], ["--min-ttl", "5m"]):
        done = site.get(*arguments)
        assert (done.code, done.err) == (0, "")


def test_a_fresh_ticket_comes_from_this_hosts_cache(site: Site) -> None:
    site.store()
    first, mark = site.get(), site.bao.mark()
    for arguments in ([], ["-v"], ["--min-ttl", "10m"]):
        assert site.get(*arguments).out == first.out
    assert site.bao.requests_seen(mark) == []


def test_no_cache_asks_vault_and_leaves_nothing_behind(site: Site) -> None:
    site.store()
    mark = site.bao.mark()
    assert site.get("--no-cache").code == 0
    assert [one.path for one in site.bao.requests_seen(mark)] == [f"secret/data/{site.ticket_path}"]
    assert not list(site.helper.runtime.rglob("*.ticket"))


def test_the_leased_path_serves_a_host_that_has_no_cache(site: Site) -> None:
    site.store()
    assert site.reader.run("get", site.profile).out == site.get().out
    assert site.api.stats().refreshes == 1


def test_min_ttl_refreshes_what_ends_too_soon(site: Site) -> None:
    site.store(None, "--no-verify")
    site.put_ticket(left=1500)
    assert "an-older-ticket" in site.get("--min-ttl", "20m").out
    assert site.api.stats().requests == 0
    renewed = site.get("--min-ttl", "30m").json()
    assert seconds(renewed["Expiration"]) - time.time() > 1800
    assert site.api.stats().refreshes == 1


def test_more_than_tickets_ever_live_is_a_clear_no(site: Site) -> None:
    site.store()
    done = site.get("--min-ttl", "2h")
    assert (done.code, done.out) == (78, "")
    assert "59m59s" in done.err
    assert "--min-ttl" in done.err
    assert site.api.stats().refreshes == 1


def test_force_gets_another_one_each_time(site: Site) -> None:
    site.store()
    seen = {site.get("--format", "token", *more).out for more in ([], ["--force"], ["--force"])}
    assert len(seen) == 3
    assert site.get("--format", "token").out in seen
    assert site.api.stats().refreshes == 3


def test_timeout_bounds_the_wait_for_another_holder(site: Site) -> None:
    token = site.store(None, "--no-verify")
    deadline = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    claim = {"id": "other", "holder": "another-host (pid 1)", "until": deadline, "fingerprint": "f"}
    site.put_grant({"refresh_token": token, "client_id": CLIENT, "vault_ticket": {"claim": claim}})
    done = site.get("--timeout", "1s", timeout=20)
    assert (done.code, done.out) == (75, "")
    assert "another-host" in done.err
    assert site.api.stats().requests == 0


def test_empty_arguments_are_passed_over(site: Site) -> None:
    """An agent's template may add them."""
    site.store()
    for arguments in (["", site.profile], [site.profile, "", " "], [site.profile, "--format", "token", ""]):
        assert site.helper.run("get", *arguments).code == 0
    assert site.helper.run("get", "", env={"VAULT_TICKET_PROFILE": site.profile}).code == 0


def test_an_unknown_profile_names_those_there_are(site: Site) -> None:
    done = site.helper.run("get", "nosuch")
    assert (done.code, done.out) == (78, "")
    assert "'nosuch'" in done.err
    assert str(site.helper.config_file) in done.err
    assert site.profile in done.err


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".hidden", "-dash", "ä", "a b", "x" * 65, "a\nb", "\x1b[31m"], ids=lambda name: ascii(name)
)
def test_a_bad_name_is_a_usage_error(site: Site, name: str) -> None:
    for command in ("get", "store", "revoke"):
        done = site.helper.run(command, "--", name, stdin="token")
        assert (done.code, done.out) == (2, "")
        assert "\x1b" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "a", "b"],
        ["get", "--format", "xml"],
        ["get", "--min-ttl", "soon"],
        ["get", "--timeout", "-1"],
        ["get", "--nosuch"],
        ["status", "--format", "xml"],
        ["nosuch"],
        [],
    ],
    ids=" ".join,
)
def test_usage_errors_are_2(site: Site, arguments: list[str]) -> None:
    done = site.helper.run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage: vault-ticket" in done.err


# -- the leased path


def test_the_leased_path_ends_with_its_ticket(site: Site) -> None:
    site.store()
    assert site.get("--force").code == 0
    ticket = site.ticket()
    assert ticket is not None
    data, version = ticket["data"], ticket["metadata"]
    assert set(data) == {"access_token", "token_type", "issued_at", "expires_at", "grant"}
    assert data["token_type"] == "Bearer"
    remaining = seconds(data["expires_at"]) - seconds(version["created_time"])
    span = seconds(version["deletion_time"]) - seconds(version["created_time"])
    # At most 1 % (and two seconds) shorter than exact, and a second for times that are told in whole ones.
    assert remaining * 0.99 - 4 <= span <= remaining + 1
    metadata = site.bao.read(f"secret/metadata/{site.ticket_path}")
    assert metadata is not None
    assert metadata["max_versions"] == 2
    assert metadata["delete_version_after"] == f"{round(span) // 60}m{round(span) % 60}s".replace("60m", "1h0m")


def test_a_reader_finds_nothing_once_the_ticket_has_ended(site: Site) -> None:
    site.api.behaviour.lifetime = 5
    site.store()
    assert (site.ticket() or {})["data"]
    site.wait_for_ticket_to_end()
    site.api.behaviour.lifetime = 3600
    assert site.get().code == 0
    assert (site.ticket() or {})["data"]


def test_lease_field_leaves_the_version_undeleted(site: Site) -> None:
    """For agents that can't render a version that ends."""
    for host in (site.operator, site.helper):
        site.configure(host, lease="field")
    site.store()
    assert site.get("--force").code == 0
    ticket = site.ticket()
    assert ticket is not None
    assert ticket["metadata"]["deletion_time"] == ""
    assert seconds(ticket["data"]["expires_at"]) > time.time()
    site.configure(site.helper)
    assert site.get("--force").code == 0
    assert (site.ticket() or {})["metadata"]["deletion_time"]


def test_a_leased_path_on_kv_v1_has_an_honest_ttl(site: Site) -> None:
    """Half the soft window: whenever it is read, the ticket is good for at least that long."""
    mount = site.bao.new_kv(version=1)
    site.bao.write_policy(
        f"v1-{mount}", f'path "{mount}/ticket/+/token" {{ capabilities = ["create", "read", "update", "delete"] }}'
    )
    token = site.bao.token_for("ticket-refresher", f"v1-{mount}", no_default_policy=True, ttl="10m")
    site.helper.environ["VAULT_TOKEN"] = token
    site.configure(site.helper, ticket={"mount": mount, "path": site.ticket_path, "kv_version": 1})
    site.store(None, "--no-verify")
    first = site.get("--no-cache")
    assert first.code == 0, first.err
    status, answer = site.bao.api("GET", f"{mount}/{site.ticket_path}")
    assert (status, answer["lease_duration"], answer["data"]["ttl"]) == (200, 599, "599s")
    assert answer["data"]["access_token"] == first.json()["AccessToken"]
    assert site.get("--no-cache").out == first.out
    assert site.helper.run("revoke", site.profile).code == 0
    assert site.bao.api("GET", f"{mount}/{site.ticket_path}")[0] == 404


@pytest.mark.usefixtures("needs_namespaces")
def test_everything_works_in_a_namespace(bao: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    name = f"ns-{uuid.uuid4().hex[:8]}"
    bao.write(f"sys/namespaces/{name}", {})
    bao.enable_kv("secret", namespace=name)
    site = Site(bao, emulator, tmp_path, namespace=name)
    site.store()
    first = site.get("--format", "token")
    assert first.code == 0, first.err
    assert (site.ticket() or {})["data"]["access_token"] == first.out.strip()
    assert bao.read(f"secret/data/{site.grant_path}") is None  # nothing in the root namespace
    for variable in ("VAULT_NAMESPACE", "BAO_NAMESPACE"):
        del site.helper.environ["VAULT_NAMESPACE"]
        site.helper.environ[variable] = name
        assert site.get("--no-cache", "--format", "token").out == first.out
        site.helper.environ.pop(variable)
        site.helper.environ["VAULT_NAMESPACE"] = ""
    site.configure(site.helper, vault={"namespace": f"/{name}/"})
    assert site.get("--no-cache", "--format", "token").out == first.out


# -- status and revoke


def test_status_shows_each_profile_without_a_secret(site: Site) -> None:
    site.store()
    issued = site.get("--force", "--format", "token").out.strip()
    site.helper.configure(
        {"profiles": {site.profile: site.profile_config(), f"a-{site.profile}": site.profile_config()}}
    )
    done = site.helper.run("status")
    assert done.code == 66  # the other one has no grant
    headings, other, ours = done.out.splitlines()
    assert headings.split() == ["PROFILE", "STATE", "VALID", "UNTIL", "LEFT", "REFRESHED", "BY", "PROBLEM"]
    assert other.startswith(f"a-{site.profile}  none")
    assert "no grant is stored" in other
    assert ours.startswith(f"{site.profile} ")
    assert re.search(r"fresh  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  59m\d+s  ", ours)
    assert "pid" in ours
    _, listed = site.helper.run("status", "--format", "json").json()
    assert (listed["profile"], listed["state"], listed["problem"]) == (site.profile, "fresh", None)
    assert 3500 < listed["seconds_left"] <= 3600
    assert listed["refreshed_at"]
    for secret in (issued, site.refresh_token()):
        assert secret not in done.out + done.err


def test_status_tells_why_it_fails(site: Site) -> None:
    given = site.store()
    site.api.revoke(given)
    site.remove_ticket()
    assert site.get().code == 77
    done = site.helper.run("status", "--format", "json")
    (found,) = done.json()
    assert done.code == 77
    assert "not valid" in found["problem"]
    assert f"vault-ticket store {site.profile}" in found["hint"]
    site.store()

    def mended() -> bool:  # this host remembers the failure for a second or two
        (now,) = site.helper.run("status", "--format", "json").json()
        return (now["state"], now["problem"]) == ("fresh", None)

    wait_until(mended, "a status without a problem", interval=0.5)


@pytest.mark.parametrize(("left", "state"), [(2000, "fresh"), (1000, "soft"), (60, "hard"), (-5, "expired")])
def test_status_names_how_fresh_a_ticket_is(site: Site, left: int, state: str) -> None:
    site.store(None, "--no-verify")
    site.put_ticket(left=left)
    done = site.reader.run("status", "--format", "json")
    assert done.json()[0]["state"] == state
    assert done.code == 0


def test_revoke_takes_the_ticket_away_for_good(site: Site) -> None:
    site.store()
    first = site.get("--format", "token").out
    done = site.helper.run("revoke", site.profile)
    assert (done.code, done.out) == (0, "")
    assert "until it expires" in done.err  # no revocation_url: the server was not asked
    ticket = site.ticket()
    assert ticket is not None
    assert (ticket["data"], ticket["metadata"]["destroyed"]) == (None, True)
    assert site.api.access_alive(first.strip())
    again = site.helper.run("revoke", site.profile)
    assert again.code == 0
    assert "no ticket" in again.err
    assert site.get("--format", "token").out not in ("", first)


def test_revoke_tells_the_server_too(site: Site) -> None:
    """RFC 7009, where a revocation URL is configured."""
    site.configure(site.helper, revocation_url=site.api.revoke_url)
    site.store()
    first = site.get("--format", "token").out.strip()
    done = site.helper.run("revoke", site.profile)
    assert done.code == 0
    assert "until it expires" not in done.err
    assert not site.api.access_alive(first)
    assert site.api.refresh_current(site.refresh_token())
    assert site.get().code == 0


# -- around them


def test_verbose_says_what_is_done_before_or_after_the_command(site: Site) -> None:
    site.store()
    quiet = site.get("--force").err
    before = site.helper.run("-v", "get", site.profile, "--force").err
    after = site.get("--force", "-v").err
    more = site.helper.run("-v", "get", site.profile, "--force", "-v").err  # the larger one counts, not the sum
    most = site.get("--force", "-vv").err
    assert quiet == ""
    steps = [re.sub(r"\S*\d\S*", "#", text).splitlines() for text in (before, after, more)]
    assert steps[0] == steps[1] == steps[2] != []
    assert len(most.splitlines()) > len(steps[0])
    assert f"POST secret/data/{site.grant_path}" in most


def test_json_log_lines_are_json_objects(site: Site) -> None:
    site.store()
    for arguments in (["-vv", "--force"], ["-v"]):
        done = site.get("--log-format", "json", *arguments)
        assert done.code == 0
        lines = [json.loads(line) for line in done.err.splitlines()]
        assert lines
        assert all({"time", "level", "message"} <= set(line) for line in lines)
    site.api.revoke(site.refresh_token())
    site.remove_ticket()
    failed = site.helper.run("--log-format", "json", "get", site.profile, "--no-cache")
    *_, last = (json.loads(line) for line in failed.err.splitlines())
    assert (failed.code, failed.out) == (77, "")
    assert (last["level"], last["exit_code"]) == ("error", 77)
    assert "store" in last["hint"]


@pytest.mark.parametrize("command", [[], ["get"], ["store"], ["status"], ["revoke"]], ids=lambda c: " ".join(c) or "-")
def test_help_of_every_command(host: Host, command: list[str]) -> None:
    """It needs no configuration, and says what the command does and what its options are."""
    done = host.run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: vault-ticket{''.join(f' {one}' for one in command)} [OPTIONS]" in done.out
    assert "--log-format" in done.out
    assert done.out == host.run(*command, "-h").out


def test_version(host: Host) -> None:
    done = host.run("--version")
    assert (done.code, done.out) == (0, f"vault-ticket {vault_ticket_plugin.__version__}\n")


@pytest.mark.parametrize("prefix", ["VAULT", "BAO"])
def test_an_address_and_a_token_are_enough(site: Site, tmp_path: Path, prefix: str) -> None:
    """No file at all: the profile is `default`, or the environment's, at the default paths."""
    site.store()
    bare = Host(tmp_path / f"bare-{prefix}")
    bare.environ = {f"{prefix}_ADDR": site.bao.address, f"{prefix}_TOKEN": site.token_of("reader")}
    expected = site.get("--format", "token").out
    assert bare.run("get", "--format", "token", env={"VAULT_TICKET_PROFILE": site.profile}).out == expected
    assert bare.run("get", site.profile, "--format", "token").out == expected
    nobody = bare.run("status", "--format", "json")
    assert nobody.json()[0]["profile"] == "default"


def test_without_an_address_it_says_how_to_give_one(host: Host) -> None:
    done = host.run("get")
    assert (done.code, done.out) == (78, "")
    assert "VAULT_ADDR" in done.err


def test_without_a_token_it_says_how_to_get_one(host: Host, bao: DevServer) -> None:
    done = host.run("get", env={"VAULT_ADDR": bao.address})
    assert (done.code, done.out) == (78, "")
    assert "VAULT_TOKEN" in done.err
    assert "login" in done.err


def test_a_reader_that_has_gone_is_no_traceback(site: Site) -> None:
    site.store()
    site.get()
    for arguments in (["get", site.profile], ["get", site.profile, "--force"], ["status"]):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write) as closed:
            done = subprocess.run(
                [COMMAND, *arguments],
                env=site.helper.env(),
                stdout=closed,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 74
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_sigterm_gives_the_claim_back(site: Site) -> None:
    site.store(None, "--no-verify")
    site.api.behaviour.delay_before = 20
    process = site.helper.start("get", site.profile)
    try:
        wait_until(lambda: site.api.stats().in_flight == 1, "the request")
        process.terminate()
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (143, "")
    assert "Traceback" not in err
    notes = (site.grant() or {})["data"]["vault_ticket"]
    assert "claim" not in notes
    assert "in_doubt" in notes


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_output_that_can_not_be_written_is_said_and_ends_with_74(site: Site, redirection: str) -> None:
    site.store()
    for arguments in (["get", site.profile, "--no-cache"], ["get", site.profile], ["get", site.profile], ["status"]):
        done = site.helper.run("-c", f'"$0" "$@" {redirection}', str(COMMAND), *arguments, command="/bin/sh")
        assert done.code == 74
        assert "standard output" in done.err
        assert "Traceback" not in done.err
        assert "Exception" not in done.err


def test_with_json_lines_the_notes_of_store_and_revoke_are_objects_too(site: Site) -> None:
    token = site.api.issue_grant(CLIENT)
    for done in (
        site.operator.run("store", site.profile, "--log-format", "json", stdin=token),
        site.operator.run("store", site.profile, "--log-format", "json", stdin=""),
        site.helper.run("revoke", site.profile, "--log-format", "json"),
    ):
        assert done.out == ""
        assert all(json.loads(line)["message"] for line in done.err.splitlines())


def test_a_server_that_does_not_revoke_is_told_from_vault_that_did(site: Site) -> None:
    site.configure(site.helper, revocation_url=site.api.revoke_url)
    site.store()
    site.api.stop()
    done = site.helper.run("revoke", site.profile)
    assert (done.code, done.out) == (75, "")
    assert "Withdrawn from" in done.err
    assert "stays valid at the server" in done.err
    assert (site.ticket() or {})["data"] is None
