"""The site that every end-to-end test plays on."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.site import Site
from tests.support.bao import DevServer
from tests.support.emulator import Emulator
from tests.support.flavour import binary


@pytest.fixture
def site(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Site:
    return Site(bao, emulator, tmp_path)


@pytest.fixture(scope="session")
def needs_hashicorps_agent() -> None:
    """For what OpenBao's agent can't do. `worded-vault` says that it is Vault, and has the agent of `bao`."""
    done = subprocess.run([binary(), "agent", "-help"], capture_output=True, text=True, timeout=60, check=False)
    if "Vault Agent" not in done.stdout + done.stderr:
        pytest.skip("about HashiCorp's agent, and this is OpenBao's")
