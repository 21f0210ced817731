"""Every secret is marked, everything speaks as loudly as it can, and the marks are nowhere but where they belong."""

import base64
import json
import os
import re
import resource
import signal
import stat
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.bao import DevServer
from tests.support.cli import COMMAND, Host, Result, finish
from tests.support.emulator import Emulator
from tests.support.faults import Fault
from tests.support.process import free_port, wait_until

# So many letters of a secret in a row are a leak. Shorter ones could be there by chance.
WINDOW = 10
A_VAULT_TOKEN = re.compile(r"\b(?:hv)?[sb]\.[A-Za-z0-9_-]{20,}")
PRINT_A_TICKET = {"get", "unwrap"}
LOUD = (["-vv"], ["-vv", "--log-format", "json"])


def pieces(secret: str) -> set[str]:
    """All of a secret that must not be seen, as it is and as it is on its way."""
    forms = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}
    return {form[i : i + WINDOW] for form in forms for i in range(0, len(form) - WINDOW + 1, 3)}


class Canary:
    """Runs commands, and afterwards knows whatever they let out."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.other_secrets: set[str] = set()
        self.results: list[tuple[tuple[str, ...], Result]] = []
        self._command_lines: set[str] = set()
        for host in (site.helper, site.operator, site.reader):
            temporary = host.folder / "tmp"
            temporary.mkdir()
            host.environ["TMPDIR"] = str(temporary)
            self.other_secrets.add(host.environ["VAULT_TOKEN"])

    def run(self, host: Host, *args: str, stdin: str = "", command: str | Path = COMMAND) -> Result:
        process = host.start(*args, command=command)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(process.pid, ended))
        watcher.start()
        try:
            if process.stdin:
                process.stdin.write(stdin)
            result = finish(process)
        finally:
            ended.set()
            watcher.join()
        self.results.append((args, result))
        return result

    def _watch(self, pid: int, ended: threading.Event) -> None:
        while not ended.wait(0.03):
            for one in {pid, *descendants(pid)}:
                try:
                    self._command_lines.add(Path(f"/proc/{one}/cmdline").read_text())
                except OSError:
                    continue

    def secrets(self) -> tuple[set[str], set[str]]:
        """(those that are never printed, access tokens)."""
        refresh, access = self.site.api.grants.tokens()
        return refresh | self.other_secrets, access

    def check(self) -> None:
        never, access = self.secrets()
        marks = {piece for secret in never for piece in pieces(secret)}
        tickets = {piece for secret in access for piece in pieces(secret)}
        assert self._command_lines
        for line in self._command_lines:
            assert_clean(line, marks | tickets, "a command line")
        for args, result in self.results:
            assert_clean(result.err, marks | tickets, f"standard error of {args}")
            # What `--wrap` prints is a Vault token by purpose: it works once, for one document.
            out = "" if "--wrap" in args and result.code == 0 else result.out
            assert_clean(out, marks, f"standard output of {args}")
            assert "Traceback" not in result.err
            if not PRINT_A_TICKET & set(args) or result.code != 0:
                assert_clean(result.out, tickets, f"standard output of {args}")
        for host in (self.site.helper, self.site.operator, self.site.reader):
            self._check_files(host, marks, tickets)

    def _check_files(self, host: Host, marks: set[str], tickets: set[str]) -> None:
        given = {path for path in host.folder.iterdir() if path.is_file()}  # what the test itself put there
        for path in host.folder.rglob("*"):
            if not path.is_file() or path in given:
                continue
            assert not path.name.startswith("core"), path
            text = path.read_text(errors="replace")
            found = {mark for mark in marks if mark in text}, {mark for mark in tickets if mark in text}
            if any(found):
                assert path.parent in (host.runtime / "vault-ticket", host.state / "vault-ticket"), path
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path
            if found[0]:
                assert path.suffix == ".journal", path
            if found[1]:
                assert path.suffix == ".ticket", path


def descendants(pid: int) -> set[int]:
    try:
        listings = list(Path(f"/proc/{pid}/task").glob("*/children"))
        children = {int(one) for listing in listings for one in listing.read_text().split()}
    except OSError:  # it has just ended
        return set()
    return children.union(*map(descendants, children))


def assert_clean(text: str, marks: set[str], where: str) -> None:
    assert not any(mark in text for mark in marks), f"a secret in {where}"
    assert not A_VAULT_TOKEN.search(text), f"a Vault token in {where}"


@pytest.fixture
def canary(site: Site) -> Iterator[Canary]:
    found = Canary(site)
    yield found
    found.check()


@contextmanager
def seen(canary: Canary, *codes: int) -> Iterator[None]:
    """The commands in the block end with these codes, each at least once: the test goes where it means to go."""
    before = len(canary.results)
    yield
    found = {result.code for _, result in canary.results[before:]}
    assert found == set(codes), [(args, result.code, result.err) for args, result in canary.results[before:]]


@pytest.mark.parametrize("loud", LOUD, ids=["text", "json"])
def test_commands_that_work(canary: Canary, loud: list[str]) -> None:
    site, helper, operator = canary.site, canary.site.helper, canary.site.operator
    site.configure(helper, revocation_url=site.api.revoke_url)
    with seen(canary, 0):
        for more in ([], ["--no-verify"]):
            canary.run(operator, "store", site.profile, *loud, *more, stdin=site.api.issue_grant(CLIENT))
        token_file = operator.secret_file("token.txt", site.api.issue_grant(CLIENT))
        canary.run(operator, "store", site.profile, *loud, "--file", str(token_file))
        for chosen in ("json", "token", "header", "env"):
            done = canary.run(helper, "get", site.profile, *loud, "--force", "--format", chosen)
            ticket = (site.ticket() or {})["data"]["access_token"]
            assert done.out.count(ticket) == 1
        canary.run(helper, "get", site.profile, *loud)
        canary.run(helper, "get", site.profile)
        canary.run(site.reader, "get", site.profile, *loud)
        for chosen in ("table", "json"):
            canary.run(helper, "status", *loud, "--format", chosen)
        canary.run(helper, "revoke", site.profile, *loud)
        canary.run(helper, "get", site.profile, *loud)
    assert site.api.stats().reuses == 0


@pytest.mark.parametrize("loud", LOUD, ids=["text", "json"])
def test_commands_that_run_hand_over_or_look_at_things(canary: Canary, loud: list[str]) -> None:
    site, helper = canary.site, canary.site.helper
    with seen(canary, 0):
        canary.run(site.operator, "store", site.profile, *loud, stdin=site.api.issue_grant(CLIENT))
        canary.run(helper, "exec", site.profile, *loud, "--", "true")
        canary.run(helper, "exec", site.profile, *loud, "--file", "--", "sleep", "0.2")
        wrapped = canary.run(helper, "get", site.profile, *loud, "--wrap", "60s")
        assert A_VAULT_TOKEN.search(wrapped.out)
        canary.other_secrets.add(wrapped.out.strip())
        unwrapped = canary.run(helper, "unwrap", *loud, "--format", "token", stdin=wrapped.out)
        assert site.api.access_alive(unwrapped.out.strip())
        canary.run(helper, "policy", "refresher", site.profile, *loud)
        canary.run(helper, "agent-config", site.profile, *loud)
        canary.run(helper, "git-credential", site.profile, *loud, "get", stdin="protocol=https\nhost=a.example\n\n")
        canary.run(helper, "docker-credential", site.profile, *loud, "list")
    with seen(canary, 77):
        canary.run(helper, "unwrap", *loud, stdin=wrapped.out)
    doctor = canary.run(helper, "doctor", site.profile, *loud)
    assert "check-and-set" in doctor.out


FAULTS: dict[str, Callable[[], Fault]] = {
    "busy": lambda: faults.busy(retry_after=60),
    "invalid_grant": lambda: faults.oauth("invalid_grant", description="MARK"),
    "invalid_client": lambda: faults.oauth("invalid_client", 401, description="MARK"),
    "unknown error": lambda: faults.oauth("MARK"),
    "temporarily_unavailable": lambda: faults.oauth("temporarily_unavailable", 503, description="MARK"),
    "HTML": lambda: faults.status(200, "<p>MARK</p>"),
    "HTML 400": lambda: faults.status(400, "<p>MARK</p>"),
    "500": lambda: faults.status(500, "MARK"),
    "redirect": lambda: faults.redirect("http://127.0.0.1:1/?refresh_token=MARK"),
    "no access_token": lambda: faults.answer("access_token"),
    "control characters": lambda: faults.answer(access_token="MARK\nMARK"),
    "a strange expires_in": lambda: faults.answer(expires_in="MARK"),
    "a strange refresh_token": lambda: faults.answer(processed=False, refresh_token=["MARK"], access_token=7),
    "huge": lambda: faults.huge(2 << 20),
    "cut": lambda: faults.cut(),
    "reset": lambda: faults.reset(processed=True),
    "late": lambda: faults.late(5),
    "drip body": lambda: faults.drip_body(0.05),
    "drip headers": lambda: faults.drip_headers(0.05),
}


@pytest.mark.parametrize("name", FAULTS)
def test_answers_that_go_wrong(canary: Canary, name: str) -> None:
    """With a usable ticket and without; each time the answer itself has a mark in it, too."""
    site, mark = canary.site, uuid.uuid4().hex
    canary.other_secrets.add(mark)
    site.api.behaviour.grace = 600
    for host in (site.helper, site.operator):
        site.configure(host, request_timeout="800ms")
    site.store(None, "--no-verify")
    for run, loud in ((1, LOUD[0]), (2, LOUD[1])):
        site.put_ticket(left=600 * (run - 1))
        site.api.behaviour.next = [marked(FAULTS[name](), mark) for _ in range(2)]
        canary.run(site.helper, "get", site.profile, "--force", *loud)
    site.api.behaviour.next = [marked(FAULTS[name](), mark) for _ in range(2)]
    canary.run(site.operator, "store", site.profile, "-vv", stdin=site.api.issue_grant(CLIENT))
    canary.run(site.helper, "status", "-vv")
    codes = [result.code for args, result in canary.results if args[0] in ("get", "store")]
    assert any(codes)
    assert 70 not in codes


def marked(fault: Fault, mark: str) -> Fault:
    fields = {name: getattr(fault, name) for name in Fault.__dataclass_fields__}
    return Fault(**json.loads(json.dumps(fields).replace("MARK", mark)))


def test_a_proxys_password_is_not_told(canary: Canary) -> None:
    site, mark = canary.site, uuid.uuid4().hex
    canary.other_secrets.add(mark)
    site.store(None, "--no-verify")
    site.configure(site.helper, token_url="https://api.example.invalid/token", request_timeout="1s")
    site.helper.environ["HTTPS_PROXY"] = f"http://user:{mark}@127.0.0.1:{free_port()}"
    with seen(canary, 75):
        for loud in LOUD:
            canary.run(site.helper, "get", site.profile, "--force", *loud)


def test_vault_that_says_no(canary: Canary) -> None:
    site = canary.site
    site.store(None, "--no-verify")
    wrong = f"s.{uuid.uuid4().hex}"
    canary.other_secrets.add(wrong)
    for token, code in ((wrong, 77), (f"{wrong}\n{wrong}", 78), (site.token_of("reader"), 77)):
        site.helper.environ["VAULT_TOKEN"] = token
        canary.other_secrets.add(token)
        with seen(canary, code):
            for loud in LOUD:
                canary.run(site.helper, "get", site.profile, "--force", *loud)
    mark = uuid.uuid4().hex
    canary.other_secrets.add(mark)
    for data in (
        {"refresh_token": f"{mark}\n{mark}"},
        {"refresh_token": [mark]},
        {"refresh_token": "x", "client_id": 7},
    ):
        site.put_grant(data)
        canary.run(site.helper, "get", site.profile, "--force", "-vv")
    site.helper.environ["VAULT_ADDR"] = f"http://user:{mark}@127.0.0.1:8200"
    with seen(canary, 78):
        canary.run(site.helper, "get", site.profile, "--force", "-vv")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_login_by_approle(canary: Canary, wrapped: bool) -> None:
    site, helper, bao = canary.site, canary.site.helper, canary.site.bao
    site.store(None, "--no-verify")
    role_id, secret_id = bao.enable_approle(f"c-{site.profile}", ["ticket-refresher"], token_ttl="5m")
    if wrapped:
        secret_id = bao.secret_id(f"c-{site.profile}", wrap_ttl="5m")
    del helper.environ["VAULT_TOKEN"]
    path = helper.secret_file("secret-id", f"{secret_id}\n")
    canary.other_secrets.add(secret_id)
    auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(path), "wrapped": wrapped}
    site.configure(helper, vault={"auth": auth})
    with seen(canary, 0):
        canary.run(helper, "get", site.profile, "--force", "-vv")
    with seen(canary, 77 if wrapped else 0):  # a wrapping token is good for one use
        canary.run(helper, "get", site.profile, "--no-cache", *LOUD[1])
    helper.secret_file("secret-id", f"{secret_id}x")
    with seen(canary, 77):
        for loud in LOUD:
            canary.run(helper, "get", site.profile, "--no-cache", *loud)


def test_vault_sealed_with_the_answer_in_hand(emulator: Emulator, tmp_path: Path) -> None:
    """The journal has the rotated token, 0600, and nothing else does; afterwards it is in Vault alone."""
    with DevServer() as bao:
        canary = Canary(Site(bao, emulator, tmp_path))
        site = canary.site
        site.store(None, "--no-verify")
        site.configure(site.helper, claim_time="3s", request_timeout="2s")
        emulator.behaviour.delay = 1.0

        def seal_after_the_spend() -> None:
            wait_until(lambda: emulator.stats().refreshes == 1, "the spend")
            bao.seal()

        sealing = threading.Thread(target=seal_after_the_spend)
        sealing.start()
        try:
            done = canary.run(site.helper, "get", site.profile, "-vv")
        finally:
            sealing.join()
        assert done.code == 0
        journals = list(site.helper.folder.rglob("*.journal"))
        assert [path.parent for path in journals] == [site.helper.state / "vault-ticket"]
        assert str(journals[0]) in done.err
        canary.check()
        canary.run(site.helper, "get", site.profile, "--force", "--timeout", "1s", *LOUD[1])
        site.helper.config_file.write_text('timeout = "1s"\n' + site.helper.config_file.read_text())
        canary.run(site.helper, "status", "-vv")
        bao.unseal()
        emulator.behaviour.delay = 0
        again = canary.run(site.helper, "get", site.profile, "--force", "-vv")
        assert again.code == 0
        assert not list(site.helper.folder.rglob("*.journal"))
        assert site.refresh_token() in emulator.grants.tokens()[0]
        assert emulator.stats().reuses == 0
        canary.check()


BUG = """
import sys
import vault_ticket_plugin.oauth.token_endpoint, vault_ticket_plugin.{module}
from vault_ticket_plugin.secret import Secret
def broken(*args, **more):
    hidden = [one.reveal() for one in [*args, *more.values()] if isinstance(one, Secret)]
    raise ValueError("/".join(hidden) + " {mark}")
vault_ticket_plugin.{module}.{name} = broken
sys.argv = ["vault-ticket", *sys.argv[1:]]
from vault_ticket_plugin.cli import run
sys.exit(run())
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("oauth.token_endpoint", "HttpTokenEndpoint.refresh"),
        ("oauth.token_response", "read"),
        ("refresh.leased_path", "publish"),
        ("refresh.rotation", "save"),
        ("settings.load", "load_settings"),
        ("host.cache", "Cache.put"),
    ],
)
def test_a_bug_of_ours(canary: Canary, module: str, name: str) -> None:
    """It is told by its place; what the exception says may be a secret."""
    site, mark = canary.site, uuid.uuid4().hex
    canary.other_secrets.add(mark)
    code = BUG.format(module=module, name=name, mark=mark)
    path = site.helper.secret_file("bug.py", code)
    for loud in LOUD:
        site.store(None, "--no-verify")  # anew: the claim of a run that broke lasts its time
        with seen(canary, 70):
            done = canary.run(site.helper, str(path), "get", site.profile, "--force", *loud, command=sys.executable)
        assert done.out == ""
        assert "this is a bug in vault-ticket: ValueError at bug.py:7" in done.err


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV])
def test_no_core_file(canary: Canary, number: signal.Signals) -> None:
    """Even where the shell allows one."""
    site = canary.site
    site.store(None, "--no-verify")
    site.configure(site.helper, request_timeout="15s", claim_time="30s")  # still spending when the signal comes
    site.api.behaviour.delay = 30
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        process = site.helper.start("get", site.profile, "-vv")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    try:
        wait_until(lambda: site.api.stats().refreshes == 1, "the spend")
        (line,) = [one for one in Path(f"/proc/{process.pid}/limits").read_text().splitlines() if "core file" in one]
        assert line.split()[4] == "0"
        os.kill(process.pid, number)
        done = finish(process)
    finally:
        process.kill()
    canary.results.append((("get",), done))
    canary._command_lines.add("get")
    assert done.code == -number
    assert done.out == ""
    assert not list(site.helper.home.glob("core*"))
