"""Sixty real processes on three hosts want a ticket at the same time: one of them gets it for all."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet, ends
from tests.support.bao import DevServer
from tests.support.cli import Result
from tests.support.emulator import Emulator
from tests.support.process import wait_until
from vault_ticket_plugin.errors import SpendEnded

HOSTS = ("web-1", "web-2", "web-3")
PROCESSES = 60


@pytest.fixture
def fleet(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Fleet:
    """A claim outlasts the herd's own start on a busy machine, so that only the killed holder's ever ends."""
    made = Fleet(bao, emulator, tmp_path, request_timeout="10s", claim_time="15s")
    for name in HOSTS:
        made.host(name)
    return made


def herd(fleet: Fleet) -> list[Result]:
    """All of them at once; their patience covers a slow machine, not a second refresh."""
    return ends([fleet.start(HOSTS[n % 3], "--timeout", "90s") for n in range(PROCESSES)], timeout=180)


def test_at_an_expired_ticket_sixty_processes_cost_one_refresh(fleet: Fleet, emulator: Emulator) -> None:
    fleet.put_ticket(left=-5)
    emulator.behaviour.delay = 1.0  # all of them arrive while it is under way
    tickets = {fleet.assert_good(result) for result in herd(fleet)}
    assert len(tickets) == 1
    stats = emulator.stats()
    assert (stats.requests, stats.refreshes, stats.reuses) == (1, 1, 0)
    assert fleet.has_the_newest_token()


def test_a_holder_that_is_killed_while_it_has_the_claim_costs_its_claims_time_only(
    fleet: Fleet, emulator: Emulator
) -> None:
    """The server has processed its request and not answered; within its grace it gives the same pair again."""
    fleet.put_ticket(left=-5)
    emulator.behaviour.grace = 120
    emulator.behaviour.delay = 60
    first = fleet.start("web-1")
    wait_until(lambda: emulator.stats().refreshes == 1, "the first holder's spend")
    holder = fleet.notes()["claim"]["holder"]
    os.kill(int(holder.partition("(pid ")[2].partition(",")[0]), signal.SIGKILL)
    assert ends([first])[0].code == SpendEnded.exit_code
    emulator.behaviour.delay = 0
    tickets = {fleet.assert_good(result) for result in herd(fleet)}
    assert len(tickets) == 1
    stats = emulator.stats()
    assert (stats.refreshes, stats.repeats, stats.reuses) == (1, 1, 0)
    assert fleet.notes()["refreshed"]["holder"] != holder
    assert fleet.has_the_newest_token()


def test_in_the_soft_window_one_refreshes_and_nobody_waits(fleet: Fleet, bao: DevServer, emulator: Emulator) -> None:
    """The others take what there is after one look at most: none of them looks again to see what came of it."""
    before = fleet.assert_good(fleet.get_at("elsewhere"))
    fleet.put_ticket(left=600, token=before)
    emulator.behaviour.delay = 1.5
    mark = bao.mark()
    tickets = Counter(fleet.assert_good(result) for result in herd(fleet))
    assert len(tickets) == 2
    assert tickets[before] > 0
    assert emulator.stats().refreshes == 2
    looks = [one for one in bao.requests_seen(since=mark) if (one.operation, one.path) == ("read", leased(fleet))]
    # One each, and one more for who claims (a host may find after its claim that another has just finished).
    assert 0 < len(looks) <= PROCESSES + len(HOSTS)


def leased(fleet: Fleet) -> str:
    return f"secret/data/{fleet.ticket_path}"
