"""A site with a grant and a living ticket and the host on which the client runs, or a host that reaches no server."""

from pathlib import Path

import pytest

from tests.clients.caller import Caller
from tests.e2e.site import Site
from tests.support.bao import DevServer
from tests.support.cli import COMMAND, Host
from tests.support.emulator import Emulator


@pytest.fixture
def caller(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Caller:
    caller = Caller(Site(bao, emulator, tmp_path))
    caller.configure()
    caller.site.store()
    return caller


@pytest.fixture
def alone(tmp_path: Path) -> Host:
    """What it is asked must be answered without Vault: nobody listens where it would be."""
    host = Host(tmp_path / "alone")
    host.configure({"profiles": {"support": {"client_id": "4711", "hosts": ["git.example.org"]}}})
    host.environ = {
        "VAULT_ADDR": "http://127.0.0.1:1",
        "VAULT_TOKEN": "none",
        "PATH": f"{COMMAND.parent}:{host.env()['PATH']}",
    }
    return host
