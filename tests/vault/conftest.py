"""A profile with its hosts, as in the end-to-end tests."""

from pathlib import Path

import pytest

from tests.e2e.site import Site
from tests.support.bao import DevServer
from tests.support.emulator import Emulator


@pytest.fixture
def site(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Site:
    return Site(bao, emulator, tmp_path)
