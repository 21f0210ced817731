"""A token that only this host's journal has is found by what was spent, over a real server that revokes on reuse.

A `get` is killed between the answer and the save. The next one is another profile's, has Vault's address written in
another way, or runs in another environment: each once spent the old token, and the family was dead.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.fleet import FAST, Fleet
from tests.support.bao import DevServer
from tests.support.cli import Host, Result
from tests.support.emulator import Emulator


@pytest.fixture
def killed(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Fleet:
    """On web-1 the journal in memory has the only good token, and the claim of the dead one still stands."""
    fleet = Fleet(bao, emulator, tmp_path)
    fleet.put_ticket(left=-5)
    fleet.crash("web-1", "before:save")
    assert len(fleet.journals("web-1")) == 1
    return fleet


def goes_on(fleet: Fleet, result: Result) -> None:
    fleet.assert_good(result)
    assert fleet.has_the_newest_token()
    assert fleet.api.stats().reuses == 0
    assert list(fleet.host("web-1").folder.rglob("*.journal")) == []
    assert list(fleet.host("web-1").folder.rglob("*.elsewhere")) == []


def get(host: Host, profile: str, env: Mapping[str, str] | None = None) -> Result:
    return host.run("get", profile, "--format", "token", env=env)


@pytest.mark.parametrize("name", ["renamed", "another"])
def test_by_another_profile(killed: Fleet, name: str) -> None:
    """Renamed, it publishes where it did; another one with the same grant publishes elsewhere."""
    host = killed.host("web-1")
    mine = killed.profile if name == "renamed" else f"{killed.profile}-too"
    locations = {
        "grant": {"mount": "secret", "path": killed.grant_path},
        "ticket": {"mount": "secret", "path": f"ticket/{mine}/token"},
    }
    host.configure({"profiles": {name: killed.profile_config(**FAST, **locations)}})
    goes_on(killed, get(host, name))


def test_by_another_spelling_of_vaults_address(killed: Fleet) -> None:
    address = killed.bao.env["VAULT_ADDR"]
    assert "127.0.0.1" in address
    goes_on(
        killed, get(killed.host("web-1"), killed.profile, {"VAULT_ADDR": address.replace("127.0.0.1", "localhost")})
    )


def without(host: Host, *names: str) -> Host:
    """The same user's, in an environment that does not name these folders."""
    made = Host(host.folder)
    made.environ = dict(host.environ) | {"VAULT_TICKET_CONFIG": str(host.config_file)}
    made.environ |= dict.fromkeys(names, "")
    return made


def test_by_cron_after_a_login(killed: Fleet) -> None:
    """Cron's environment names no folder at all: the user's own one says where the login's is."""
    cron = without(killed.host("web-1"), "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
    goes_on(killed, get(cron, killed.profile))


def test_by_a_login_after_cron(bao: DevServer, emulator: Emulator, tmp_path: Path) -> None:
    fleet = Fleet(bao, emulator, tmp_path)
    fleet.put_ticket(left=-5)
    host = fleet.host("web-1")
    names = {"XDG_RUNTIME_DIR": "", "XDG_STATE_HOME": ""}
    fleet.crash("web-1", "before:save", names)
    assert fleet.journals("web-1") == []  # they are in the user's own folders
    assert len(list(host.home.rglob("*.journal"))) == 1
    goes_on(fleet, get(host, fleet.profile))


def test_by_whoever_has_another_home(killed: Fleet) -> None:
    """As sudo leaves it: the folders follow from the user."""
    other = killed.host("web-1").folder / "other-home"
    other.mkdir()
    sudo = without(killed.host("web-1"), "XDG_RUNTIME_DIR", "XDG_STATE_HOME")
    goes_on(killed, get(sudo, killed.profile, {"HOME": str(other)}))


def test_a_logout_that_removes_the_runtime_folder_takes_what_was_killed_in_its_first_second(killed: Fleet) -> None:
    """The declared rest: nobody was there to put it on the disk. Whoever finds out says on which host it was."""
    shutil.rmtree(killed.host("web-1").runtime / "vault-ticket")
    result = get(killed.host("web-1"), killed.profile)
    assert result.code == 77
    assert os.uname().nodename in result.err


def test_what_waits_for_another_server_is_named_and_left_alone(killed: Fleet) -> None:
    """`status` says whose it is, on standard error; what is on standard output stays as it was."""
    (entry,) = killed.journals("web-1")
    token = killed.api.newest(killed.token)
    other = killed.host("web-2")
    folder = other.state / "vault-ticket"
    folder.mkdir(mode=0o700)
    shutil.copy(entry, folder / entry.name)
    killed.put_grant({"refresh_token": killed.api.issue_grant("client-1")})
    killed.bao.write("secret/data/ticket/other/grant", {"data": {}})
    other.configure({"profiles": {"other": killed.profile_config()}})

    shown = other.run("status", "--format", "json")

    assert [one["profile"] for one in shown.json()] == ["other"]
    assert f"secret/{killed.grant_path} in Vault at {killed.bao.env['VAULT_ADDR']}" in shown.err
    assert f"of profile {killed.profile}" in shown.err
    assert token not in shown.err + shown.out
    assert (folder / entry.name).exists()
