"""The daemon under the limits of its own unit, as far as they can be set without systemd."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.daemon import confined
from tests.daemon.daemons import Daemon, configure
from tests.daemon.test_units import FOLDER
from tests.e2e.site import Site
from tests.support.cli import COMMAND
from tests.support.process import Process, wait_until

UNIT = FOLDER / "vault-ticket.service"
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or find_library("seccomp") is None,
    reason="systemd-analyze or libseccomp is not here",
)


class Confined(Daemon):
    def start(self) -> None:
        command: list[str | Path] = [sys.executable, confined.__file__, UNIT, COMMAND, "daemon", "-v", *self.options]
        self._process = Process(command, log=self.log, env=self.host.env(), cwd=self.host.home)
        wait_until(lambda: not self.running or self.answers(), "the daemon's first answer")
        assert self.running, self.log.read_text()[-3000:]


@pytest.fixture
def daemon(site: Site, tmp_path: Path) -> Iterator[Daemon]:
    tell = f'read -r _ </dev/null; echo "$VAULT_TICKET_EVENT" > {tmp_path}/hook'
    more = {"audit": str(tmp_path / "audit.log"), "hooks": {"refreshed": ["/bin/sh", "-c", tell]}}
    configure(site, site.helper, more)
    made = Confined(site.helper)
    yield made
    shutil.rmtree(made.socket.parent, ignore_errors=True)


def test_the_daemon_does_all_its_work_within_its_unit_s_limits(site: Site, daemon: Daemon, tmp_path: Path) -> None:
    """It refreshes, hands out, tells hooks and the audit, is measured, takes a new configuration, and ends."""
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        assert site.api.access_alive(daemon.token(site.profile))
        wait_until((tmp_path / "hook").exists, "the hook")
        assert daemon.metrics()["process_threads"] > 1
        daemon.hang_up()
        wait_until(lambda: daemon.said("the configuration is taken"), "the new configuration")
        assert daemon.terminate() == 0
    assert "not permitted" not in daemon.log.read_text()
    events = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert {"claim", "spend", "save", "publish", "hand-out"} <= {event["event"] for event in events}


def test_the_limits_are_there() -> None:
    """Else the test above could not fail."""
    program = """
import json, mmap, os, socket
def refused(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except OSError:
        return True
    return False
print(json.dumps([refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW), refused(os.chroot, "/"),
                  refused(os.nice, 1), refused(mmap.mmap, -1, 4096, prot=7), refused(os.getpid)]))
"""
    command = [sys.executable, confined.__file__, str(UNIT), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [True, True, True, True, False]
