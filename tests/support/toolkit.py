"""django-oauth-toolkit, an authorization server that nobody here wrote, served for real on loopback.

with Toolkit(grace=0, reuse_protection=True) as server:
    token_url, client_id, refresh_token = server.grant()
"""

import http.client
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple, Self

from tests.support import toolkit_app
from tests.support.process import Process, clean_env, free_port, wait_until

ROOT = Path(__file__).parent.parent.parent


class Grant(NamedTuple):
    token_url: str
    client_id: str
    refresh_token: str


class Toolkit:
    """A public client, rotation on; `grace` in seconds, `reuse_protection` revokes a family on reuse."""

    def __init__(self, *, lifetime: int = 3600, grace: int = 0, reuse_protection: bool = False) -> None:
        self._how = ["--lifetime", str(lifetime), "--grace", str(grace)]
        self._how += ["--reuse-protection"] if reuse_protection else []
        self._folder = tempfile.TemporaryDirectory(prefix="toolkit-")
        self._process: Process | None = None
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._how += ["--port", str(port)]
        self.token_url = f"{self.url}/o/token/"
        self.revoke_url = f"{self.url}/o/revoke_token/"
        self.tickets_url = f"{self.url}/tickets"
        self.client_id = toolkit_app.CLIENT_ID

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        command = [sys.executable, "-m", "tests.support.toolkit_app", str(folder), *self._how]
        self._process = Process(command, log=folder / "log", env=clean_env(folder), cwd=ROOT)
        try:
            wait_until(self._up_or_dead, f"{self.url} up")
            if not self._process.alive:
                raise RuntimeError(self._process.log.read_text()[-2000:])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.stop()
        self._folder.cleanup()

    def _up_or_dead(self) -> bool:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", "/tickets")
            return connection.getresponse().status == 403
        except OSError:
            return self._process is None or not self._process.alive
        finally:
            connection.close()

    def grant(self) -> Grant:
        """A new refresh token for the client, as a user's consent would bring it."""
        with urllib.request.urlopen(f"{self.url}/new-grant", data=b"", timeout=30) as answer:
            return Grant(self.token_url, self.client_id, answer.read().decode())
