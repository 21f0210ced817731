"""The units in scripts/systemd, as far as they can be tested where systemd does not run."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vault_ticket_plugin import environment
from vault_ticket_plugin.daemon import keeper
from vault_ticket_plugin.daemon.service import ANSWER_SECONDS
from vault_ticket_plugin.settings.profile import Profile

FOLDER = Path(__file__).parents[2] / "scripts" / "systemd"
DOCS = Path(__file__).parents[2] / "docs" / "daemon.md"
UNITS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".service", ".socket", ".timer"))
# By `systemd-analyze security`, where 10 is wide open; docs/daemon.md quotes the figures.
MAX_EXPOSED = 1.3
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here")


class Unit(configparser.RawConfigParser):
    """Keys in their own case; of one that is given more than once all values, a line each."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
        self.optionxform = str  # type: ignore[assignment, method-assign]
        seen: dict[str, list[str]] = {}
        section = ""
        for line in (FOLDER / name).read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
                self.add_section(section)
            elif "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                seen.setdefault(f"{section}.{key}", []).append(value)
                self.set(section, key, "\n".join(seen[f"{section}.{key}"]))


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    """With programs that are here in the place of those that are not."""
    for unit in UNITS:
        text = re.sub(r"/usr/local/bin/\S+", "/bin/sh", (FOLDER / unit).read_text())
        (tmp_path / unit).write_text(text)
    command = [ANALYZE or "", "verify", "--man=no", f"./{name}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", ["vault-ticket.service", "vault-ticket-once.service"])
def test_a_unit_is_as_closed_as_the_documentation_says(name: str) -> None:
    command = [ANALYZE or "", "security", "--offline=true", "--no-pager", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(rf"Overall exposure level for {name}: ([0-9.]+) ", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) <= MAX_EXPOSED
    said = re.search(rf"`{name}` ([0-9.]+)", DOCS.read_text())
    assert said is not None
    assert abs(float(found[1]) - float(said[1])) <= 0.2  # other versions of systemd count a little differently


@pytest.mark.parametrize("name", ["vault-ticket.service", "vault-ticket-once.service"])
def test_the_journals_outlive_the_unit(name: str) -> None:
    """What memory keeps is not removed with the unit: after a kill it may be the only good refresh token."""
    service = Unit(name)["Service"]
    assert service["RuntimeDirectoryPreserve"] == "yes"
    environ = {"RUNTIME_DIRECTORY": f"/run/{service['RuntimeDirectory']}", "HOME": "/nowhere"}
    for line in service["Environment"].splitlines():
        variable, _, value = line.partition("=")
        environ[variable] = value.replace("%S", "/var/lib")
    assert environment.runtime_path(environ) == "/run/vault-ticket/private"
    assert environment.state_path(environ) == f"/var/lib/{service['StateDirectory']}"
    assert environment.config_path(environ) == "/etc/vault-ticket/config.toml"
    assert service["RuntimeDirectoryMode"] == service["StateDirectoryMode"] == "0700"
    # A user that comes and goes can't own them: the folders would be links, which we don't follow.
    assert service["User"] == "vault-ticket"
    assert "DynamicUser" not in service


def test_callers_are_told_apart() -> None:
    """In a user namespace each would be the same nobody."""
    assert "PrivateUsers" not in Unit("vault-ticket.service")["Service"]


def test_both_units_are_closed_alike() -> None:
    """But for what the one that answers nobody can do without."""
    daemon, once = dict(Unit("vault-ticket.service")["Service"]), dict(Unit("vault-ticket-once.service")["Service"])
    own = {"Type", "ExecStart", "ExecReload", "TimeoutStopSec", "TimeoutStartSec", "WatchdogSec", "TasksMax"}
    own |= {"Restart", "RestartSec", "RestartPreventExitStatus", "PrivateUsers"}
    assert {key: value for key, value in daemon.items() if key not in own} == {
        key: value for key, value in once.items() if key not in own
    }


@pytest.mark.parametrize(
    ("name", "path", "descriptor", "mode"),
    [
        ("vault-ticket.socket", "/run/vault-ticket/socket", "http", "0666"),
        ("vault-ticket-credentials.socket", "/run/vault-ticket/credentials", "credentials", "0600"),
    ],
)
def test_a_socket_has_the_name_that_the_daemon_knows(name: str, path: str, descriptor: str, mode: str) -> None:
    found = Unit(name)["Socket"]
    assert (found["ListenStream"], found["FileDescriptorName"], found["SocketMode"]) == (path, descriptor, mode)
    assert found.get("Service", name.replace(".socket", ".service")) == "vault-ticket.service"
    assert name in Unit("vault-ticket.service")["Unit"]["After"].split()


def test_times_of_the_unit_leave_the_daemon_its_own() -> None:
    """systemd waits longer for the end than what is under way may take, and for a sign of life than one may be late."""
    service = Unit("vault-ticket.service")["Service"]
    assert (
        float(service["TimeoutStopSec"])
        >= keeper.ROUND_SECONDS + Profile.standard("any").claim_seconds + ANSWER_SECONDS
    )
    assert float(service["WatchdogSec"]) / 3 >= 4 * keeper.MAX_WAIT
    assert service["Type"] == "notify"


def test_the_example_waits_for_the_socket_that_it_reads() -> None:
    unit = Unit("example-consumer.service")
    profile, _, path = unit["Service"]["LoadCredential"].partition(":")
    assert environment.is_profile_name(profile)
    assert path == Unit("vault-ticket-credentials.socket")["Socket"]["ListenStream"]
    assert "${CREDENTIALS_DIRECTORY}/" + profile in unit["Service"]["ExecStart"]
    assert unit["Unit"]["Requires"] == unit["Unit"]["After"] == "vault-ticket-credentials.socket"
