"""What the real daemon tells a caller is what Vault's way would have told: error, message, hint, exit code."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemons import Daemon, socket_of
from tests.daemon.serving import Serving
from tests.e2e.site import CLIENT, Site
from tests.host.test_daemon_client import CLASSES, parts
from tests.support.cli import Host, Result
from tests.support.process import free_port, wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon.wiring import DaemonWiring
from vault_ticket_plugin.errors import GrantRejected, VaultTicketError
from vault_ticket_plugin.host import daemon_client
from vault_ticket_plugin.model import Demand, LiveTicket
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Auth, VaultSettings
from vault_ticket_plugin.wiring import Wiring


def test_the_real_server_tells_every_error_so_that_it_is_known_again(tmp_path: Path) -> None:
    error = VaultTicketError("")

    def issue(_name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        raise error

    with Serving(tmp_path, issue=issue, warm=False) as serving:
        for kind in CLASSES:
            for more in ({}, {"code": "invalid_grant"}, {"retry_after": 42.5}):
                error = kind('it does not "work": ½', "Mend it.", **more)
                with pytest.raises(VaultTicketError) as caught:
                    daemon_client.request_ticket(str(serving.path), "support", True, 0.0, Deadline.after(20))
                assert type(caught.value) is kind
                assert parts(caught.value) == parts(error)


def test_the_real_server_keeps_to_itself_for_how_long_it_remembers_a_failure(tmp_path: Path) -> None:
    """By --force nobody here would ask it."""
    error = GrantRejected("dead", "Store another.")
    error.remembered_for = 7.0

    def issue(_name: str, _demand: Demand, _until: Deadline) -> LiveTicket:
        raise error

    with Serving(tmp_path, issue=issue, warm=False) as serving, pytest.raises(GrantRejected) as caught:
        daemon_client.request_ticket(str(serving.path), "support", True, 0.0, Deadline.after(20))
    assert "remembered for 7 s more" in error.hint
    assert (caught.value.hint, caught.value.remembered_for) == ("Store another.", None)


def test_the_real_servers_ticket_has_its_times(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        heard = daemon_client.request_ticket(str(serving.path), "support", True, 300.0, Deadline.after(20))
        kept = serving.keeper.ready("support")
        assert kept is not None
        assert heard is not None
        assert heard.ticket.access_token == kept.ticket.access_token
        assert (heard.ticket.issued_at, heard.ticket.expires_at) == tuple(
            float(int(time)) for time in (kept.ticket.issued_at, kept.ticket.expires_at)
        )
        assert 0 <= heard.ends - kept.ends < 2
        assert daemon_client.is_alive(str(serving.path), Deadline.after(20))


def test_the_real_server_lets_in_whom_the_profile_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells a profile that is not there from one that is not ours by nothing."""
    with Serving(tmp_path) as serving:
        monkeypatch.setattr("vault_ticket_plugin.daemon.http_api.access.may_have", lambda _peer, _profile: False)
        for name in ("support", "billing"):
            with pytest.raises(daemon_client.NotAllowed):
                daemon_client.fetch(str(serving.path), name, 0.0, Deadline.after(20))


# -- the program, for real


def faults(site: Site) -> Mapping[str, dict[str, Any]]:
    """What is wrong, and the profile that shows it. Each has a name of its own on the shared server."""
    quick = {"request_timeout": "1s", "claim_time": "2s"}
    elsewhere = {"mount": "secret", "path": f"elsewhere/{site.profile}"}
    return {
        "missing": {},
        "invalid": {},
        "dead": {},
        "client": {"client_id": "unknown"},
        "away": {"token_url": f"http://127.0.0.1:{free_port()}/token"} | quick,
        "no-oauth": {"token_url": f"{site.bao.address}/v1/sys/health"} | quick,
        "denied": {"grant": elsewhere, "ticket": elsewhere | {"path": f"elsewhere/{site.profile}/token"}},
        "good": {},
    }


GRANTS: dict[str, Any] = {"invalid": 7, "dead": "dead"}
CODES = {"missing": 66, "invalid": 65, "dead": 77, "client": 78, "away": 75, "no-oauth": 76, "denied": 77, "good": 0}


def name_of(site: Site, fault: str) -> str:
    return f"{site.profile}-{fault}"


def told(done: Result) -> tuple[int, str, str]:
    """Without what depends on when it was asked: the rest of a cooldown, and who found out first."""
    said = re.sub(
        r" ?\((This is remembered|found by) .*?(asks now|not asked again|asked again at \S+Z)\.?\)", "", done.err
    )
    return done.code, done.out, said


def put_grants(site: Site) -> None:
    for fault in CODES:
        if fault != "missing":
            token = GRANTS.get(fault) or site.api.issue_grant(CLIENT)
            data = {"refresh_token": token, "client_id": CLIENT}
            path = Profile.standard(name_of(site, fault)).grant.path
            assert site.bao.api("POST", f"secret/data/{path}", {"data": data})[0] == 200


def test_every_failure_that_can_be_made_is_told_alike_by_socket_and_by_vault(site: Site, tmp_path: Path) -> None:
    put_grants(site)
    profiles = {name_of(site, fault): site.profile_config(**keys) for fault, keys in faults(site).items()}
    by_vault = Host(tmp_path / "by-vault")
    by_vault.environ = dict(site.helper.environ)
    by_vault.configure({"profiles": profiles})
    by_socket = Host(tmp_path / "by-socket")
    path = socket_of(site.helper)
    by_socket.configure(f'socket = "unix:{path}"\n')
    site.helper.configure({"daemon": {"listen": f"unix:{path}"}, "profiles": profiles})
    try:
        with Daemon(site.helper) as daemon:
            wait_until(lambda: daemon.ticket(name_of(site, "good")).status == 200, "the good ticket")
            for fault, code in CODES.items():
                found = told(by_socket.run("get", name_of(site, fault)))
                assert found[0] == code, (fault, found)
                assert found == told(by_vault.run("get", name_of(site, fault))), fault
            for more in (["--min-ttl", "2h"], ["--min-ttl", "2h", "--no-cache"]):
                found = told(by_socket.run("get", name_of(site, "good"), *more))
                assert found[0] == 78
                assert found == told(by_vault.run("get", name_of(site, "good"), *more))
                assert by_socket.run("get", name_of(site, "good")).code == 0
            doctor = by_socket.run("doctor", name_of(site, "good"))
            assert doctor.code == 0, doctor.out
            assert by_socket.run("doctor", name_of(site, "dead")).code == 77
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


def test_the_daemon_itself_asks_no_daemon(tmp_path: Path) -> None:
    """Its configuration may be its clients' own, and then names its own socket."""
    vault = VaultSettings("https://vault.example:8200", Auth("none"))
    settings = Settings(vault, socket=str(tmp_path / "socket"))
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    for kind, asks in ((Wiring, True), (DaemonWiring, False)):
        wiring = kind(settings, environ)
        assert (wiring.issuer(settings.profile("support")).ask_daemon is not None) == asks
        wiring.close()
