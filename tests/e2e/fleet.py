"""Many hosts with one profile, under the helper's policy: each has folders and perhaps a configuration of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.site import CLIENT, Site
from tests.support.bao import Server
from tests.support.cli import USERS_FOLDERS, Host, Result, finish
from tests.support.emulator import Emulator

ROOT = Path(__file__).parents[2]
# A dead holder is waited for no longer than that; all else as it is by default.
FAST = {"request_timeout": "1s", "claim_time": "2s"}


class Fleet(Site):
    """`token` is the refresh token that a person put there by hand."""

    def __init__(self, bao: Server, api: Emulator, folder: Path, **profile: Any) -> None:
        super().__init__(bao, api, folder)
        self.folder = folder
        self.profile_keys = FAST | profile
        self.hosts: dict[str, Host] = {}
        self.token = api.issue_grant(CLIENT)
        self.put_grant({"refresh_token": self.token})

    def host(self, name: str, **profile: Any) -> Host:
        """The host of that name, made when it is first asked for."""
        if name not in self.hosts:
            self.hosts[name] = self._host(self.folder / name, "refresher")
            self.configure(self.hosts[name], **self.profile_keys | profile)
        return self.hosts[name]

    def get_at(self, name: str, *more: str) -> Result:
        return self.host(name).run("get", self.profile, "--format", "token", *more)

    def start(self, name: str, *more: str) -> "subprocess.Popen[str]":
        return self.host(name).start("get", self.profile, "--format", "token", *more)

    def crash(self, name: str, moment: str, env: Mapping[str, str] | None = None) -> Result:
        """A `get` on that host whose spend dies by SIGKILL at this moment (tests/support/crash.py)."""
        return finish(self.start_crash(name, moment, env or {}))

    def start_crash(self, name: str, moment: str, env: Mapping[str, str]) -> "subprocess.Popen[str]":
        command = ["-m", "tests.support.crash", moment, "get", self.profile, "--format", "token"]
        more = {"PYTHONPATH": f"{ROOT}{os.pathsep}{USERS_FOLDERS}"} | dict(env)
        return self.host(name).start(*command, env=more, command=sys.executable, group=True)

    def signal(self, name: str, moment: str, number: int, whom: str) -> Result:
        """A `get` on that host that gets this signal while its spend is at this moment; the spend does not."""
        return self.crash(name, moment, {"CRASH_SIGNAL": str(int(number)), "CRASH_WHOM": whom})

    def journals(self, name: str) -> list[Path]:
        """What waits on that host, in memory and on disk."""
        host = self.host(name)
        return [*host.runtime.rglob("*.journal"), *host.state.rglob("*.journal")]

    def notes(self) -> dict[str, Any]:
        found = self.grant()
        assert found is not None
        return dict(found["data"].get("vault_ticket", {}))

    def claim_is_over(self) -> bool:
        claim = self.notes().get("claim")
        return claim is None or datetime.fromisoformat(claim["until"]) < datetime.now(UTC)

    def has_the_newest_token(self) -> bool:
        """Whether the grant has a living refresh token, its family's newest."""
        return self.api.refresh_current(self.refresh_token())

    def assert_good(self, result: Result) -> str:
        """The ticket that was printed, which the API takes."""
        assert result.code == 0, result.err
        ticket = result.out.strip()
        assert self.api.access_alive(ticket)
        return ticket


def ends(processes: "list[subprocess.Popen[str]]", timeout: float = 120.0) -> list[Result]:
    return [finish(process, timeout) for process in processes]
