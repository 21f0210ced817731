"""A real agent that runs what `vault-ticket agent-config` printed, and somebody who watches its output.

The agent is `bao agent`, or that of the binary which VAULT_TICKET_TEST_SERVER names; so is the proxy beside it.
"""

import base64
import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.site import Site
from tests.support.cli import COMMAND, Host
from tests.support.flavour import binary, flavour
from tests.support.process import Process, wait_until

NAME = "TICKET_ACCESS_TOKEN"
# The child of exec mode: it lives until it is told to stop, and so it can be found.
CHILD = "sleep 86399"


class AgentHost:
    """A host on which an agent runs: its AppRole login, the helper's configuration, the agent's own.

    `policy` is the one that the login's tokens have, without even the server's `default`. `profile` goes into the
    helper's configuration file. `listen`: the address of a proxy that runs beside the agent ("unix" for a socket in
    this host's folder). `wrapped`: whether the secret id is response-wrapped.
    """

    def __init__(
        self,
        site: Site,
        mode: str,
        policy: str = "ticket-refresher",
        *,
        options: tuple[str, ...] = (),
        profile: Mapping[str, Any] | None = None,
        listen: str = "",
        wrapped: bool = False,
        **approle: Any,
    ) -> None:
        self.site = site
        self.mode = mode
        self._folder = Path(tempfile.mkdtemp(prefix="agent-"))  # short: a socket's path has 107 letters at most
        self.host = Host(self._folder / "host")
        self.role = f"agent-{site.profile}"
        self.rendered = self._folder / "out" / "rendered"
        self.socket = self._folder / "proxy" / "proxy.sock"
        self.log, self.proxy_log = self._folder / "agent.log", self._folder / "proxy.log"
        self._last_words = ""
        self._process: Process | None = None
        self._proxy: Process | None = None

        how = {"token_no_default_policy": True, "token_ttl": "20m"} | approle
        login = self._login([policy], how, wrapped)
        self.host.configure(
            {
                "vault": {"address": site.bao.address, "auth": login},
                "profiles": {site.profile: site.profile_config(**(profile or {}))},
            }
        )
        self.listen = f"unix://{self.socket}" if listen == "unix" else listen
        program = "bao" if flavour().is_openbao else "vault"
        common = ["--for", program, "--role-id-file", str(self._folder / "host" / "role_id")]
        if self.listen:
            self.socket.parent.mkdir(mode=0o700)
            common += ["--listen", self.listen]
        self.proxy_config = self._printed("--mode", "proxy", *common) if listen else ""
        self.config = self._printed(
            *("--mode", mode, *common, "--destination", str(self.rendered)),
            *(("--command", CHILD) if mode == "exec" else ()),
            *options,
        )

    def _login(self, policies: list[str], how: Mapping[str, Any], wrapped: bool) -> dict[str, Any]:
        bao = self.site.bao
        role_id, secret_id = bao.enable_approle(self.role, policies, **how)
        self.host.secret_file("role_id", role_id)
        secret_file = self.host.secret_file(
            "secret_id", bao.secret_id(self.role, wrap_ttl="5m") if wrapped else secret_id
        )
        login = {"method": "approle", "role_id": role_id, "secret_id_file": str(secret_file)}
        return login | ({"wrapped": True} if wrapped else {})

    def _printed(self, *options: str) -> str:
        done = self.host.run("agent-config", self.site.profile, *options)
        assert (done.code, done.err) == (0, "")
        return done.out.replace("/role/ROLE/", f"/role/{self.role}/")  # which is left to the reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.kill_proxy()
        self._last_words = self.last_words()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *flags: str) -> None:
        """The agent; before it the proxy, if it belongs to the configuration and does not run yet."""
        if self.proxy_config and not self._proxy:
            self.start_proxy()
        self.start_agent(*flags)

    def start_agent(self, *flags: str) -> None:
        self._process = self._run("agent", self.config, self.log, *flags)

    def start_proxy(self, until: str = "starting renewal process") -> None:
        """Until its log has this: that it has logged in, if nothing else is expected."""
        self._proxy = self._run("proxy", self.proxy_config, self.proxy_log)
        wait_until(lambda: until in self.proxy_log.read_text(), f"{until!r} in the proxy's log")

    def _run(self, kind: str, config: str, log: Path, *flags: str) -> Process:
        file = self._folder / f"{kind}.hcl"
        file.write_text(config)
        env = self.host.env()
        env["PATH"] = f"{COMMAND.parent}{os.pathsep}{env['PATH']}"
        command: list[str | Path] = [binary(), kind, f"-config={file}", "-log-level=info", *flags]
        return Process(command, log=log, env=env, cwd=self.host.home)

    def stop(self) -> None:
        """The agent."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill_proxy(self) -> None:
        """SIGKILL: it leaves its socket behind."""
        if self._proxy:
            self._proxy.kill()
            self._proxy = None

    def last_words(self) -> str:
        """The end of its log and the proxy's; also when all of this is over and its folder gone."""
        logs = [log.read_text()[-3000:] for log in (self.proxy_log, self.log) if log.exists()]
        return "\n".join(logs) or self._last_words

    def deprecations(self) -> list[str]:
        """What the agent and the proxy say of their configuration's future."""
        logs = [log.read_text() for log in (self.proxy_log, self.log) if log.exists()]
        return [line for line in "".join(logs).splitlines() if "deprecat" in line.lower()]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    def wait_for_end(self, timeout: float = 30.0) -> int:
        """The exit code of an agent that ends by itself."""
        assert self._process is not None
        process = self._process
        wait_until(lambda: not process.alive, "the agent's own end", timeout)
        code = process.code
        self.stop()
        assert code is not None
        return code

    def token(self) -> str:
        """The access token that the agent's output holds now; FileNotFoundError where there is none yet."""
        if self.mode == "exec":
            return self.child()[1]
        text = self.rendered.read_text()
        if self.mode == "env":
            name, _, text = text.partition("=")
            assert name == NAME
            assert text.endswith("\n")
        return text.removesuffix("\n")

    def child(self) -> tuple[int, str]:
        """The supervised child's pid and what its environment says."""
        assert self._process is not None
        for pid in _children(self._process.pid):
            with contextlib.suppress(OSError):
                if _words(Path(f"/proc/{pid}/cmdline")) == CHILD.split():
                    found = [one for one in _words(Path(f"/proc/{pid}/environ")) if one.startswith(f"{NAME}=")]
                    return pid, found[-1].removeprefix(f"{NAME}=") if found else ""
        raise FileNotFoundError("no child yet")

    def wait_for_token(self, other_than: str = "", timeout: float = 30.0) -> str:
        """The rendered token, once it is a valid one."""
        found = [""]

        def there() -> bool:
            with contextlib.suppress(FileNotFoundError):
                found[0] = self.token()
            return found[0] not in ("", other_than) and expiry(found[0]) > time.time()

        try:
            wait_until(there, "a valid token", timeout)
        except TimeoutError:
            raise AssertionError(f"no valid token within {timeout:g} s:\n{self.last_words()}") from None
        return found[0]


@dataclass(slots=True)
class Samples:
    """What was seen every 50 ms, from the first token on."""

    count: int = 0
    expired: int = 0
    unreadable: int = 0
    least_left: float = 1e9
    tokens: dict[str, float] = field(default_factory=dict)  # and when each was first seen
    children: dict[int, str] = field(default_factory=dict)

    def all_good(self) -> bool:
        return self.count > 0 and self.expired == 0 and self.unreadable == 0


@contextlib.contextmanager
def sampled(agent: AgentHost, every: float = 0.05) -> Iterator[Samples]:
    """Looks at the agent's output all the while, judging by each token's own `exp` and this host's clock."""
    samples, over = Samples(), threading.Event()

    def look() -> None:
        while not over.wait(every):
            now = time.time()
            try:
                pid, token = agent.child() if agent.mode == "exec" else (0, agent.token())
                left = expiry(token) - now
            except (OSError, ValueError, IndexError):
                # Between two children there is nobody whose environment could be wrong.
                samples.unreadable += agent.mode != "exec" and samples.count > 0
                continue
            samples.count += 1
            samples.expired += left <= 0
            samples.least_left = min(samples.least_left, left)
            samples.tokens.setdefault(token, now)
            samples.children.setdefault(pid, token)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def repeated(every: float, call: Callable[[], object]) -> Iterator[None]:
    """Something that another host does again and again meanwhile."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every):
            call()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def expiry(token: str) -> float:
    """The JWT's own `exp`. ValueError or IndexError for what is no JWT."""
    claims = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])


def _children(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, listing.read_text().split())


def _words(path: Path) -> list[str]:
    return [word.decode() for word in path.read_bytes().split(b"\0") if word]
