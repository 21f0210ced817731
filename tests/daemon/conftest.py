"""The site of the end-to-end tests, for the daemon's, and a daemon on it."""

import shutil
from collections.abc import Iterator

import pytest

from tests.daemon.daemons import Daemon, configure
from tests.e2e.conftest import site as site
from tests.e2e.site import Site


@pytest.fixture
def daemon(site: Site) -> Iterator[Daemon]:
    """Configured for the site's profile, not started yet."""
    configure(site, site.helper)
    made = Daemon(site.helper)
    yield made
    shutil.rmtree(made.socket.parent, ignore_errors=True)
