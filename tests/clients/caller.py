"""A host on which a client runs: the snippets of docs/formats.md in its HOME, and our command in its PATH."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.site import Site
from tests.support.cli import COMMAND, Host, Result
from tests.support.emulator import Emulator

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
SNIPPET = re.compile(r"^```\w+ (?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets() -> dict[str, str]:
    return {found["name"]: found["text"] for found in SNIPPET.finditer(DOCUMENT.read_text())}


class Caller:
    """The site's helper is the host: it may refresh. `places`: what stands in the snippets, and what it is here."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.host: Host = site.helper
        self.api: Emulator = site.api
        self.places = {"support": site.profile, "https://api.socialboards.com/tickets": site.api.tickets_url}
        path = self.host.env()["PATH"]
        self.host.environ["PATH"] = f"{COMMAND.parent}:{path}"

    def snippet(self, name: str) -> str:
        text = snippets()[name]
        for there, here in self.places.items():
            text = text.replace(there, here)
        return text

    def place(self, name: str) -> Path:
        """The snippet as the file that it is named after."""
        path = Path(name.replace("~", str(self.host.home)))
        path = path if path.is_absolute() else self.host.home / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.snippet(name))
        path.chmod(0o755 if path.read_text().startswith("#!") else 0o600)
        return path

    def run(self, *command: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Result:
        return self.host.run(*map(str, command[1:]), command=command[0], stdin=stdin, env=env)

    def sh(self, script: str) -> Result:
        return self.run("/bin/sh", "-c", script)

    def configure(self, **changes: Any) -> None:
        self.site.configure(self.host, revocation_url=self.api.revoke_url, **changes)

    def renew(self) -> None:
        """The access token dies, here and at the server; the next call must come with another."""
        done = self.host.run("revoke", self.site.profile)
        assert done.code == 0, done.err

    def break_grant(self) -> None:
        """The access token and the refresh token die: every call fails from now on, with `REASON`."""
        self.renew()
        self.api.revoke(self.site.refresh_token())


# What our standard error says after break_grant, and its exit code.
REASON, REASON_CODE = "the refresh token is not valid", 77


class Program:
    """A Python program of a client that lives longer than a ticket: each line from us is answered with one of JSON."""

    def __init__(
        self, caller: Caller, text: str, env: Mapping[str, str] | None = None, words: Sequence[str] = ()
    ) -> None:
        self._process = caller.host.start("-c", text, *words, command=sys.executable, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(BrokenPipeError):
                self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            _, err = self._process.communicate(timeout=30)
            raise AssertionError(err)
        return json.loads(line)
