"""What may go wrong while a daemon runs: every ticket stays usable wherever one could have been had."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemons import Daemon, configure, socket_of
from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.bao import DiskServer, RaftCluster, Server
from tests.support.emulator import Emulator
from tests.support.process import wait_until

# Refreshed when half of it is left; what Vault or the endpoint can't do in a second or two has failed.
LIFETIME = 20
TIMES: dict[str, Any] = {"soft_window": "10s", "hard_window": "2s", "request_timeout": "1s", "claim_time": "5s"}
GOOD, FAILING = 'vault_ticket_profiles{standing="good"}', 'vault_ticket_profiles{standing="failing"}'


class HandOuts:
    """What a client of the socket was given, asked every 50 ms."""

    def __init__(self) -> None:
        self.good = 0
        self.bad: list[str] = []
        self.tokens: set[str] = set()

    @property
    def all_good(self) -> bool:
        return self.good > 0 and not self.bad


@contextmanager
def asked(daemon: Daemon, profile: str) -> Iterator[HandOuts]:
    seen, ended = HandOuts(), threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            try:
                answer = daemon.ticket(profile)
            except OSError as error:
                seen.bad.append(repr(error))
                continue
            if answer.status != 200:
                seen.bad.append(answer.json()["detail"])
                continue
            found = answer.json()
            left = (datetime.fromisoformat(found["Expiration"]) - datetime.now(UTC)).total_seconds()
            if left <= 0:
                seen.bad.append(f"ended {-left:.1f} s ago")
            seen.good += 1
            seen.tokens.add(found["AccessToken"])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def one_server() -> Iterator[DiskServer]:
    with DiskServer() as made:
        made.enable_kv("secret")
        yield made


@pytest.fixture
def server(one_server: DiskServer) -> Iterator[DiskServer]:
    """One that may be sealed, and comes back."""
    yield one_server
    back(one_server)


@contextmanager
def at_work(
    bao: Server, api: Emulator, folder: Path, ready: bool = True, lifetime: int = LIFETIME, **profile: Any
) -> Iterator[tuple[Site, Daemon]]:
    site = Site(bao, api, folder)
    api.behaviour.lifetime = lifetime
    configure(site, site.helper, **TIMES | profile)
    site.put_grant({"refresh_token": api.issue_grant(CLIENT), "client_id": CLIENT})
    try:
        with Daemon(site.helper) as daemon:
            if ready:
                daemon.wait_until_ready()
            yield site, daemon
    finally:
        shutil.rmtree(socket_of(site.helper).parent, ignore_errors=True)


def in_standing(daemon: Daemon, name: str) -> None:
    wait_until(lambda: daemon.metrics()[name] == 1, f"{name} of\n{daemon.log.read_text()[-2000:]}", timeout=60)


def back(server: DiskServer) -> None:
    if not server.running:
        server.start()
    elif not server.active:
        server.unseal()


# -- Vault


@pytest.mark.slow
def test_vault_is_sealed_for_a_while(server: DiskServer, emulator: Emulator, tmp_path: Path) -> None:
    away_for_a_while(server, emulator, tmp_path, server.seal)


@pytest.mark.slow
def test_vault_is_killed_and_started_again(emulator: Emulator, tmp_path: Path) -> None:
    with DiskServer() as server:
        server.enable_kv("secret")
        away_for_a_while(server, emulator, tmp_path, server.kill)


def away_for_a_while(server: DiskServer, emulator: Emulator, folder: Path, take_away: Callable[[], None]) -> None:
    with at_work(server, emulator, folder) as (site, daemon):
        token = daemon.token(site.profile)
        with asked(daemon, site.profile) as seen:
            take_away()
            in_standing(daemon, FAILING)
            back(server)
            in_standing(daemon, GOOD)
        assert seen.all_good, seen.bad[:3]
        assert daemon.token(site.profile) != token
        assert emulator.stats().reuses == 0


def test_killed_and_started_again_while_vault_is_away_it_still_has_its_ticket(
    server: DiskServer, emulator: Emulator, tmp_path: Path
) -> None:
    """It is in the runtime folder, which SIGKILL does not take."""
    with at_work(server, emulator, tmp_path) as (site, daemon):
        token = daemon.token(site.profile)
        daemon.kill()
        server.seal()
        try:
            daemon.start()
            daemon.wait_until_ready()
            assert daemon.token(site.profile) == token
        finally:
            back(server)
        in_standing(daemon, GOOD)


@pytest.mark.parametrize("disk", ["works", "takes nothing"])
def test_a_rotated_token_that_vault_could_not_take_is_there_as_soon_as_it_can(
    server: DiskServer, emulator: Emulator, tmp_path: Path, disk: str
) -> None:
    """From the disk, or where that takes nothing from memory; without anybody asking."""
    emulator.behaviour.delay = 1.5
    # A ticket that lasts: with the next refresh under way, Vault's token is not the newest yet.
    with at_work(server, emulator, tmp_path, ready=False, lifetime=3600, request_timeout="3s") as (site, daemon):
        before = site.refresh_token()
        if disk != "works":
            site.helper.state.rmdir()
            site.helper.state.write_text("a file where the folder should be")
            (site.helper.home / ".local").touch()  # nor is there one that follows from the user alone
        wait_until(lambda: emulator.stats().refreshes == 1, "the spend")
        server.seal()
        loud = "It is kept in" if disk == "works" else "could not be saved"
        wait_until(lambda: daemon.said(loud), "the loud line")
        assert daemon.metrics()["vault_ticket_journal_waiting"] == 1
        back(server)
        wait_until(lambda: daemon.metrics()["vault_ticket_journal_waiting"] == 0, "the journal's end", timeout=60)
        in_standing(daemon, GOOD)
        assert site.refresh_token() == emulator.newest(before)
        assert emulator.stats().reuses == 0


@pytest.mark.slow
def test_the_leader_is_killed(emulator: Emulator, tmp_path: Path) -> None:
    """The daemon talks to a standby; an election takes 2 to 14 s."""
    with RaftCluster() as cluster:
        standby = cluster.standbys()[0]
        with at_work(standby, emulator, tmp_path) as (site, daemon):
            with asked(daemon, site.profile) as seen:
                spent = emulator.stats().refreshes
                cluster.kill_leader()
                wait_until(lambda: emulator.stats().refreshes >= spent + 2, "two more tickets", timeout=120)
                in_standing(daemon, GOOD)
            assert seen.all_good, seen.bad[:3]
            assert emulator.stats().reuses == 0


# -- the token endpoint


@pytest.mark.slow
def test_the_token_endpoint_is_away_for_five_minutes(server: DiskServer, emulator: Emulator, tmp_path: Path) -> None:
    """In the soft window all the time; tried for sparingly, and found as it is there again."""
    site = Site(server, emulator, tmp_path)
    configure(site, site.helper, **TIMES | {"soft_window": "20m"})
    site.put_grant({"refresh_token": emulator.issue_grant(CLIENT), "client_id": CLIENT})
    site.put_ticket(left=400, lifetime=3600)
    emulator.behaviour.next += [faults.oauth("temporarily_unavailable", 503)] * 1000
    with Daemon(site.helper) as daemon:
        daemon.wait_until_ready()
        with asked(daemon, site.profile) as seen:
            time.sleep(300)
            tried = emulator.stats().requests
            emulator.behaviour.next.clear()
            in_standing(daemon, GOOD)
    print(f"{seen.good} hand-outs, {tried} requests in 300 s")
    assert seen.all_good, seen.bad[:3]
    assert 3 <= tried <= 60
    assert emulator.stats().refreshes == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["slow", "busy"])
def test_the_token_endpoint_is_slow_or_busy(server: DiskServer, emulator: Emulator, tmp_path: Path, fault: str) -> None:
    with at_work(server, emulator, tmp_path) as (site, daemon):
        with asked(daemon, site.profile) as seen:
            before = emulator.stats()
            if fault == "slow":
                emulator.behaviour.delay_before = 0.8
            else:
                emulator.behaviour.next.append(faults.busy(retry_after=4))
            wait_until(lambda: emulator.stats().refreshes >= before.refreshes + 2, "two more tickets", timeout=90)
        after = emulator.stats()
        assert seen.all_good, seen.bad[:3]
        assert after.reuses == 0
        busy = [one for one in after.events if one.what == "fault"]
        assert len(busy) == (1 if fault == "busy" else 0)
        if busy:
            later = next(one for one in after.events if one.what == "refreshed" and one.time > busy[0].time)
            assert later.time - busy[0].time >= 3.5, "it was asked again before it wanted to be"


# -- the daemon itself


@pytest.mark.slow
def test_killed_right_after_a_spend_the_next_one_heals_it(
    server: DiskServer, emulator: Emulator, tmp_path: Path
) -> None:
    """The answer was read by nobody: the spent token is tried once more, in the server's grace."""
    with at_work(server, emulator, tmp_path) as (site, daemon):
        emulator.behaviour.grace = 60
        spent = emulator.stats().refreshes
        emulator.behaviour.delay = 30
        wait_until(lambda: emulator.stats().refreshes > spent, "the spend")
        daemon.kill()
        emulator.behaviour.delay = 0
        daemon.start()
        in_standing(daemon, GOOD)
        assert emulator.access_alive(daemon.token(site.profile))
        assert emulator.stats().reuses == 0
        assert not os.path.exists(f"{site.helper.runtime}/vault-ticket/{site.profile}.journal")
