"""A real agent that runs what `vault-ticket agent-config` printed, and somebody who watches its output.

The agent is `bao agent`, or that of the binary which VAULT_TICKET_TEST_SERVER names.
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
from tests.support.flavour import binary
from tests.support.process import Process, wait_until

NAME = "TICKET_ACCESS_TOKEN"
# The child of exec mode: it lives until it is told to stop, and so it can be found.
CHILD = "sleep 86399"


class AgentHost:
    """A host on which an agent runs: its AppRole login, the helper's configuration, the agent's own.

    `policy` is the one that the agent's token has, without even the server's `default`. `vault` and `profile`
    go into the helper's configuration file.
    """

    def __init__(
        self,
        site: Site,
        mode: str,
        policy: str = "ticket-refresher",
        *,
        options: tuple[str, ...] = (),
        profile: Mapping[str, Any] | None = None,
        **approle: Any,
    ) -> None:
        self.site = site
        self.mode = mode
        bao = site.bao
        self._folder = Path(tempfile.mkdtemp(prefix="agent-"))  # short: a socket's path has 107 letters at most
        self.host = Host(self._folder / "host")
        self.role = f"agent-{site.profile}"
        how = {"token_no_default_policy": True, "token_ttl": "20m"} | approle
        role_id, secret_id = bao.enable_approle(self.role, [policy], **how)
        role_file = self.host.secret_file("role_id", role_id)
        secret_file = self.host.secret_file("secret_id", secret_id)
        login = {"method": "approle", "role_id": role_id, "secret_id_file": str(secret_file)}
        self.rendered = self._folder / "out" / "rendered"
        self.host.configure(
            {
                "vault": {"address": bao.address, "auth": login},
                "profiles": {site.profile: site.profile_config(**(profile or {}))},
            }
        )
        printed = self.host.run(
            *("agent-config", site.profile, "--mode", mode, "--listen", f"unix://{self._folder}/agent.sock"),
            *("--destination", str(self.rendered), "--role-id-file", str(role_file)),
            *(("--command", CHILD) if mode == "exec" else ()),
            *options,
        )
        assert (printed.code, printed.err) == (0, "")
        self.config = printed.out
        self.log = self._folder / "agent.log"
        self._last_words = ""
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._last_words = self.last_words()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *flags: str) -> None:
        file = self._folder / "agent.hcl"
        file.write_text(self.config)
        env = self.host.env()
        env["PATH"] = f"{COMMAND.parent}{os.pathsep}{env['PATH']}"
        command: list[str | Path] = [binary(), "agent", f"-config={file}", "-log-level=info", *flags]
        self._process = Process(command, log=self.log, env=env, cwd=self.host.home)

    def stop(self) -> None:
        if self._process:
            self._process.stop()
            self._process = None

    def last_words(self) -> str:
        """The end of its log; also when all of this is over and its folder gone."""
        return self.log.read_text()[-3000:] if self.log.exists() else self._last_words

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
