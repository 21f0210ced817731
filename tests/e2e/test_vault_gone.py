"""Vault goes away, or a person works on the grant, between the token endpoint's answer and the save."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.site import CLIENT
from tests.support.bao import DevServer, DiskServer
from tests.support.cli import Result, finish
from tests.support.emulator import Emulator
from tests.support.process import wait_until

# The answer comes 1.5 s after the token was spent: time for the test to act. What Vault can't take in 5 s goes to disk.
TIMES: dict[str, Any] = {"request_timeout": "3s", "claim_time": "5s"}
DELAY = 1.5


@pytest.fixture(scope="module")
def server() -> Iterator[DiskServer]:
    """One that may be sealed and killed, and comes back."""
    with DiskServer() as made:
        made.enable_kv("secret")
        yield made


def in_flight(fleet: Fleet, name: str = "web-1") -> "subprocess.Popen[str]":
    """A `get` on that host; the server has just spent the token, and will answer soon."""
    spent = fleet.api.stats().refreshes
    fleet.api.behaviour.delay = DELAY
    process = fleet.start(name)
    wait_until(lambda: fleet.api.stats().refreshes > spent, "the spend")
    fleet.api.behaviour.delay = 0
    return process


# -- Vault sealed or killed


@pytest.fixture
def gone(server: DiskServer, emulator: Emulator, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(server, emulator, tmp_path, **TIMES)
    yield fleet
    back(server)


def take_away(server: DiskServer, how: str) -> None:
    server.seal() if how == "sealed" else server.kill()


def back(server: DiskServer) -> None:
    if not server.running:
        server.start()
    elif not server.active:
        server.unseal()


def lose_vault(fleet: Fleet, server: DiskServer, how: str) -> Result:
    process = in_flight(fleet)
    take_away(server, how)
    return finish(process)


def test_a_store_that_vault_did_not_take_is_saved_by_what_its_hint_says(gone: Fleet, server: DiskServer) -> None:
    given = store_while_vault_is_lost(gone, server)
    back(server)
    done = gone.operator.run("status")
    assert "is saved in Vault" in done.err
    assert gone.refresh_token() == gone.api.newest(given)
    gone.assert_good(gone.get_at("web-1", "--force"))
    assert gone.api.stats().reuses == 0


def test_a_store_that_vault_did_not_take_may_be_said_again(gone: Fleet, server: DiskServer) -> None:
    """The given token is spent, and this host knows by which one."""
    given = store_while_vault_is_lost(gone, server)
    back(server)
    gone.store(given)
    assert gone.refresh_token() == gone.api.newest(given)
    assert list(gone.operator.folder.rglob("*.journal")) == []
    assert gone.api.stats().reuses == 0


def store_while_vault_is_lost(fleet: Fleet, server: DiskServer) -> str:
    """What a person gave to `store`, which ended with 74 and the place of what it was rotated to."""
    fleet.configure(fleet.operator, **TIMES)
    given, spent = fleet.api.issue_grant(CLIENT), fleet.api.stats().refreshes
    fleet.api.behaviour.delay = DELAY
    token = fleet.operator.secret_file("given", given)
    process = fleet.operator.start("store", fleet.profile, "--file", str(token))
    wait_until(lambda: fleet.api.stats().refreshes > spent, "the spend")
    fleet.api.behaviour.delay = 0
    server.seal()
    done = finish(process)
    assert done.code == 74, done.err
    assert "vault-ticket status" in done.err
    return given


@pytest.mark.parametrize("command", ["status", "get", "revoke"])
def test_what_a_sealed_vault_could_not_take_waits_on_disk_and_any_command_brings_it_there(
    gone: Fleet, server: DiskServer, command: str
) -> None:
    waits_on_disk(gone, server, "sealed", [command] if command == "status" else [command, gone.profile])


def test_what_a_killed_vault_could_not_take_waits_on_disk_too(emulator: Emulator, tmp_path: Path) -> None:
    with DiskServer() as server:
        server.enable_kv("secret")
        waits_on_disk(Fleet(server, emulator, tmp_path, **TIMES), server, "killed", ["status"])


def waits_on_disk(fleet: Fleet, server: DiskServer, how: str, command: list[str]) -> None:
    """Exit 0 with the ticket, a loud line, a journal that only its owner reads; then the command replays it."""
    result = lose_vault(fleet, server, how)
    fleet.assert_good(result)
    (journal,) = fleet.journals("web-1")
    assert str(journal) in result.err
    assert "rotated refresh token" in result.err
    assert journal.is_relative_to(fleet.host("web-1").state)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700
    assert fleet.api.newest(fleet.token) not in result.err
    back(server)
    assert fleet.refresh_token() == fleet.token
    fleet.host("web-1").run(*command)
    assert fleet.journals("web-1") == []
    assert fleet.has_the_newest_token()
    fleet.assert_good(fleet.get_at("web-1", "--force"))
    assert fleet.api.stats().reuses == 0


def test_while_vault_is_away_the_ticket_is_handed_out_and_the_journal_stays(gone: Fleet, server: DiskServer) -> None:
    ticket = gone.assert_good(lose_vault(gone, server, "sealed"))
    again = gone.get_at("web-1")
    assert (gone.assert_good(again), len(gone.journals("web-1"))) == (ticket, 1)
    assert "sealed" in again.err


def test_where_the_disk_does_not_take_it_either_it_is_74(gone: Fleet, server: DiskServer) -> None:
    """The token is in memory still, and the message says where."""
    state = gone.host("web-1").state
    state.rmdir()
    state.write_text("a file where the folder should be")
    (gone.host("web-1").home / ".local").touch()  # nor is there one that follows from the user alone
    result = lose_vault(gone, server, "sealed")
    assert (result.code, result.out) == (74, "")
    (journal,) = gone.host("web-1").runtime.rglob("*.journal")
    assert str(journal) in result.err
    assert "could not be saved" in result.err
    back(server)
    gone.assert_good(gone.get_at("web-1", "--force"))
    assert list(gone.host("web-1").runtime.rglob("*.journal")) == []
    assert gone.has_the_newest_token()
    assert gone.api.stats().reuses == 0


def test_another_host_that_meets_the_dead_token_names_the_host_with_the_journal(
    gone: Fleet, server: DiskServer
) -> None:
    """Its own use of the token is a reuse to this server: the one thing left to do is said by name."""
    gone.assert_good(lose_vault(gone, server, "sealed"))
    back(server)
    holder = gone.notes()["claim"]["holder"]
    result = gone.get_at("web-2")
    assert (result.code, result.out) == (77, "")
    assert holder in result.err
    assert "journal" in result.err
    assert gone.api.stats().reuses == 1


def test_a_server_with_a_grace_lets_another_host_go_on_meanwhile(gone: Fleet, server: DiskServer) -> None:
    """When the first host's journal comes at last, Vault has had its token for long."""
    gone.api.behaviour.grace = 120
    gone.assert_good(lose_vault(gone, server, "sealed"))
    back(server)
    gone.assert_good(gone.get_at("web-2"))
    gone.assert_good(gone.get_at("web-1"))
    assert gone.journals("web-1") == []
    assert gone.has_the_newest_token()
    assert gone.api.stats().reuses == 0


# -- a person at work on the grant


@pytest.fixture
def fleet(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Fleet:
    return Fleet(bao, emulator, tmp_path, **TIMES)


def test_a_re_seed_by_hand_in_flight_stands(fleet: Fleet) -> None:
    process = in_flight(fleet)
    theirs = {"refresh_token": fleet.api.issue_grant(CLIENT), "note": "mine"}
    fleet.put_grant(theirs)
    result = finish(process)
    fleet.assert_good(result)
    assert "stored anew" in result.err
    found = fleet.grant()
    assert found is not None
    assert found["data"] == theirs
    assert fleet.ticket() is None
    fleet.assert_good(fleet.get_at("web-2"))
    assert fleet.api.newest(theirs["refresh_token"]) == fleet.refresh_token()


def test_store_in_flight_stands(fleet: Fleet) -> None:
    process = in_flight(fleet)
    theirs = fleet.store()
    fleet.assert_good(finish(process))
    assert fleet.refresh_token() == fleet.api.newest(theirs)
    fleet.assert_good(fleet.get_at("web-2", "--force"))
    assert fleet.refresh_token() == fleet.api.newest(theirs)
    assert fleet.api.stats().reuses == 0


def test_an_unrelated_edit_in_flight_is_kept(fleet: Fleet, bao: DevServer) -> None:
    process = in_flight(fleet)
    patched = bao.cli("kv", "patch", "-mount=secret", fleet.grant_path, "owner=team")
    assert patched.returncode == 0, patched.stderr
    fleet.assert_good(finish(process))
    found = fleet.grant()
    assert found is not None
    assert found["data"]["owner"] == "team"
    assert fleet.has_the_newest_token()
    assert "claim" not in fleet.notes()


def test_documents_that_demand_check_and_set_are_written_all_the_same(fleet: Fleet, bao: DevServer) -> None:
    """`cas_required`; setting the leased path's metadata does not take it away."""
    for path in (fleet.grant_path, fleet.ticket_path):
        bao.write(f"secret/metadata/{path}", {"cas_required": True})
    tickets = {fleet.assert_good(fleet.get_at("web-1", "--force")) for _ in range(2)}
    assert len(tickets) == 2
    metadata = bao.read(f"secret/metadata/{fleet.ticket_path}")
    assert metadata is not None
    assert metadata["cas_required"] is True
    assert fleet.has_the_newest_token()


# -- two hosts with two configurations


def test_a_host_with_a_wrong_client_does_not_stop_the_others(fleet: Fleet) -> None:
    """The latch holds for its own client only."""
    fleet.host("wrong", client_id="nobody")
    assert fleet.get_at("wrong").code == 78
    fleet.assert_good(fleet.get_at("right"))
    assert fleet.has_the_newest_token()
    assert fleet.api.stats().refreshes == 1


def test_each_host_goes_by_its_own_windows(fleet: Fleet) -> None:
    fleet.host("eager", soft_window="25m")
    fleet.host("easy", soft_window="5m", hard_window="1m")
    first = fleet.assert_good(fleet.get_at("easy"))
    fleet.put_ticket(left=1200, token=first)
    assert fleet.assert_good(fleet.get_at("easy")) == first
    second = fleet.assert_good(fleet.get_at("eager"))
    assert second != first
    assert fleet.api.stats().refreshes == 2


def test_a_host_with_a_shorter_claim_waits_for_one_with_a_longer_one(fleet: Fleet) -> None:
    """The claim says itself until when it holds."""
    fleet.api.behaviour.delay = 4.0
    fleet.host("slow", request_timeout="10s", claim_time="15s")
    fleet.host("quick", request_timeout="0.6s", claim_time="1s")
    slow = fleet.start("slow")
    wait_until(lambda: fleet.api.stats().in_flight == 1, "the slow one's spend")
    quick = fleet.start("quick")
    tickets = {fleet.assert_good(finish(process)) for process in (slow, quick)}
    assert len(tickets) == 1
    assert fleet.api.stats().requests == 1
