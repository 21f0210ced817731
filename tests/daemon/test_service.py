"""The daemon as a process: it keeps the leased path fresh, takes a new configuration, ends cleanly, comes back."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.daemon.daemons import Daemon, configure, socket_of
from tests.e2e.site import CLIENT, Site
from tests.support.process import wait_until
from vault_ticket_plugin.daemon.service import Service
from vault_ticket_plugin.errors import VaultTicketError

SHORT = 6  # seconds that a ticket lives where a test waits for the next one


def claimed(site: Site) -> bool:
    grant = site.grant()
    return grant is not None and "claim" in (grant["data"].get("vault_ticket") or {})


def put_dead_grant(site: Site) -> None:
    site.api.issue_grant(CLIENT)  # a client that the server knows
    site.put_grant({"refresh_token": "dead", "client_id": CLIENT})


def short_lived(site: Site) -> None:
    site.api.behaviour.lifetime = SHORT


# -- its work


def test_it_hands_out_what_it_publishes(site: Site, daemon: Daemon) -> None:
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
    with daemon:
        daemon.wait_until_ready()
        token = daemon.token(site.profile)
        published = site.ticket()
        assert published is not None
        assert published["data"]["access_token"] == token
        assert site.api.access_alive(token)
        assert site.get("--format", "token").out == f"{token}\n"
    assert site.api.stats().refreshes == 1


def test_the_leased_path_is_fresh_at_any_time(site: Site, daemon: Daemon) -> None:
    """Without anybody asking; one refresh a ticket."""
    short_lived(site)
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        seen: set[str] = set()
        while len(seen) < 2:
            found = site.ticket()
            assert found is not None
            assert found["data"] is not None, "the leased version has ended"
            seen.add(found["data"]["access_token"])
            wait_until(lambda: (site.ticket() or {})["data"]["access_token"] not in seen, "the next ticket")
    assert site.api.stats().reuses == 0


def test_two_daemons_spend_as_often_as_one(site: Site, daemon: Daemon) -> None:
    short_lived(site)
    site.store(None, "--no-verify")
    configure(site, site.operator)
    site.operator.environ["VAULT_TOKEN"] = site.helper.environ["VAULT_TOKEN"]
    other = Daemon(site.operator)
    with daemon, other:
        daemon.wait_until_ready()
        other.wait_until_ready()
        wait_until(lambda: site.api.stats().refreshes >= 3, "three tickets")
    assert site.api.stats().refreshes == site.api.stats().requests
    assert site.api.stats().reuses == 0
    shutil.rmtree(other.socket.parent, ignore_errors=True)


def test_a_grant_that_is_stored_later_is_found(site: Site, daemon: Daemon) -> None:
    with daemon:
        wait_until(lambda: daemon.metrics()['vault_ticket_profiles{standing="dead"}'] == 1, "the missing grant")
        refused = daemon.ticket(site.profile)
        assert refused.json()["title"] == "GrantMissing"
        site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
        daemon.wait_until_ready()


# -- its configuration


def test_a_changed_configuration_is_taken_and_a_broken_one_is_not(site: Site, daemon: Daemon) -> None:
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        token = daemon.token(site.profile)
        good = site.helper.config_file.read_text()
        site.helper.config_file.write_text(good + "\nnot toml")
        daemon.hang_up()
        wait_until(lambda: daemon.said("the old one stays"), "the refusal")
        assert daemon.token(site.profile) == token
        other = site.profile + "-2"
        site.helper.config_file.write_text(
            good + f'\n[profiles."{other}"]\nclient_id = "{CLIENT}"\ntoken_url = "{site.api.token_url}"\n'
            f'grant = {{ path = "{site.grant_path}2" }}\nticket = {{ path = "{site.ticket_path}2" }}\n'
        )
        assert daemon.ticket(other).json()["title"] == "ConfigError"
        daemon.hang_up()
        wait_until(lambda: daemon.said("the configuration is taken"), "the new configuration")
        assert daemon.ticket(other).json()["title"] in ("GrantMissing", "VaultDenied")
        assert daemon.token(site.profile) == token
    assert site.api.stats().refreshes == 1


def test_after_a_revoke_a_reload_brings_another_ticket(site: Site, daemon: Daemon) -> None:
    """Nobody tells a daemon what was revoked elsewhere; SIGHUP lets it look at the leased path."""
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        token = daemon.token(site.profile)
        site.configure(site.operator, revocation_url=site.api.revoke_url)
        site.operator.environ["VAULT_TOKEN"] = site.helper.environ["VAULT_TOKEN"]
        done = site.operator.run("revoke", site.profile)
        assert done.code == 0, done.err
        daemon.hang_up()
        wait_until(lambda: daemon.token(site.profile) != token, "another ticket")
        assert site.api.access_alive(daemon.token(site.profile))
    assert site.api.stats().refreshes == 2


def test_a_configuration_that_is_broken_at_the_start_is_an_error(site: Site, daemon: Daemon) -> None:
    daemon.host.config_file.write_text("[daemon]\nlisten = 'http://0.0.0.0'\n")
    done = site.helper.run("daemon")
    assert done.code == 78
    assert "listen" in done.err
    assert done.out == ""


# -- its end, and how it comes back


@pytest.mark.parametrize("when", ["idle", "spending"])
def test_sigterm_finishes_what_is_under_way_and_leaves_no_claim(site: Site, daemon: Daemon, when: str) -> None:
    site.store(None, "--no-verify")
    if when == "spending":
        site.api.behaviour.delay = 1.5
    with daemon:
        if when == "spending":
            wait_until(lambda: site.api.stats().refreshes == 1, "the spend")
        else:
            daemon.wait_until_ready()
        assert daemon.terminate() == 0
    assert not claimed(site)
    found = site.ticket()
    assert found is not None
    assert site.api.access_alive(found["data"]["access_token"])
    assert not socket_of(site.helper).exists()


def test_a_daemon_that_nobody_can_ask_any_more_ends(site: Site) -> None:
    """Its HTTP server has died: whoever starts it anew does more for its callers."""
    configure(site, site.helper)
    service = Service(dict(site.helper.env()))
    try:
        service._tick()
        service._server = SimpleNamespace(alive=False)  # type: ignore[assignment]
        with pytest.raises(VaultTicketError, match="HTTP server has ended"):
            service._tick()
    finally:
        service._close()


def test_once_looks_after_each_profile_and_ends(site: Site) -> None:
    site.store(None, "--no-verify")
    done = site.helper.run("daemon", "--once")
    assert (done.code, done.out) == (0, "")
    found = site.ticket()
    assert found is not None
    assert site.api.access_alive(found["data"]["access_token"])
    assert site.helper.run("daemon", "--once").code == 0
    assert site.api.stats().refreshes == 1


def test_once_fails_as_get_does(site: Site) -> None:
    done = site.helper.run("daemon", "--once")
    assert (done.code, done.out) == (66, "")
    assert done.err.startswith(f"vault-ticket: {site.profile}: ")
    put_dead_grant(site)
    site.helper.run("get", site.profile, "--force")
    assert site.helper.run("daemon", "--once").code == 77


def test_once_runs_its_hooks_to_their_end(site: Site, tmp_path: Path) -> None:
    tell = f"sleep 0.3; echo $VAULT_TICKET_EVENT $VAULT_TICKET_EXIT_CODE > {tmp_path}/told"
    configure(site, site.helper, {"hooks": {"dead": ["/bin/sh", "-c", tell]}})
    assert site.helper.run("daemon", "--once").code == 66
    assert (tmp_path / "told").read_text() == "dead 66\n"


# -- what fails meanwhile


def test_a_token_endpoint_that_is_away_costs_nobody_a_usable_ticket(site: Site, daemon: Daemon) -> None:
    """It is tried for again, sparingly; and it recovers by itself."""
    site.api.behaviour.lifetime = 2 * SHORT
    configure(site, site.helper, soft_window="6s", hard_window="1s", request_timeout="1s")
    site.store(None, "--no-verify")
    with daemon:
        daemon.wait_until_ready()
        token = daemon.token(site.profile)
        site.api.stop()
        wait_until(lambda: daemon.metrics()['vault_ticket_profiles{standing="failing"}'] == 1, "the failure")
        assert daemon.token(site.profile) == token
        site.api.start()
        wait_until(lambda: daemon.metrics()['vault_ticket_profiles{standing="good"}'] == 1, "the recovery")
        assert daemon.token(site.profile) != token
    assert site.api.stats().refreshes == 2


def test_a_dead_grant_is_told_once_and_a_new_one_heals_it(site: Site, daemon: Daemon, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    hook = ["/bin/sh", "-c", f'echo "$VAULT_TICKET_EVENT $VAULT_TICKET_PROFILE $VAULT_TICKET_EXIT_CODE" >>{notes}']
    events = ("refreshed", "failing", "dead", "recovered")
    configure(site, site.helper, {"hooks": dict.fromkeys(events, hook)})
    put_dead_grant(site)
    with daemon:
        wait_until(lambda: notes.exists() and "dead" in notes.read_text(), "the hook")
        refused = daemon.ticket(site.profile).json()
        assert (refused["title"], refused["exit_code"], refused["code"]) == ("GrantRejected", 77, "invalid_grant")
        site.store(None, "--no-verify")
        wait_until(lambda: "recovered" in notes.read_text(), "the recovery", timeout=90)
    told = [line.split()[0] for line in notes.read_text().splitlines()]
    assert sorted(told) == ["dead", "recovered", "refreshed"]
    assert site.api.stats().requests == 2
