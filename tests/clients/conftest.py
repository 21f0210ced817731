"""A site with a grant and a living ticket, and the host on which the client runs."""

from pathlib import Path

import pytest

from tests.clients.caller import Caller
from tests.e2e.site import Site
from tests.support.bao import DevServer
from tests.support.emulator import Emulator


@pytest.fixture
def caller(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Caller:
    caller = Caller(Site(bao, emulator, tmp_path))
    caller.configure()
    caller.site.store()
    return caller
