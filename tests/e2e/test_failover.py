"""Three raft nodes of the real server: the leader dies at the worst moment, and a standby lags behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.e2e.fleet import Fleet, ends
from tests.support.bao import DiskServer, RaftCluster
from tests.support.cli import finish
from tests.support.emulator import Emulator
from tests.support.process import wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.model import Demand, Document, Location
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.vault.kv import VaultStore
from vault_ticket_plugin.wiring import Wiring

pytestmark = pytest.mark.slow

ROUNDS = 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[RaftCluster]:
    with RaftCluster() as made:
        yield made


@pytest.fixture
def fleet(cluster: RaftCluster, emulator: Emulator, tmp_path: Path) -> Fleet:
    """A claim outlasts a leader election (2 to 14 s were seen)."""
    made = Fleet(cluster.leader(), emulator, tmp_path, request_timeout="5s", claim_time="40s")
    for node in cluster.nodes:
        made.host(f"at-{node.node}").environ |= {"VAULT_ADDR": node.address}
    wait_until(lambda: all(readable(made, node) for node in cluster.nodes), "the policies everywhere")
    return made


def readable(fleet: Fleet, node: DiskServer) -> bool:
    """Whether that node has seen the grant, its host's token and the policy."""
    token = fleet.host(f"at-{node.node}").environ["VAULT_TOKEN"]
    return node.api("GET", f"secret/data/{fleet.grant_path}", token=token)[0] == 200


def test_a_lagging_standby_serves_no_stale_spend(fleet: Fleet, cluster: RaftCluster, emulator: Emulator) -> None:
    """Forced refreshes at the two standbys by turns, each at once after the other's, by sessions that share nothing.

    Each reads what its standby has, however old; check-and-set and the second look decide. The herd of processes is
    too slow for this: a standby lags by less than a process takes to start.
    """
    names = [f"at-{node.node}" for node in cluster.standbys()]
    assert len(names) == 2
    wirings = [wiring(fleet, name) for name in names]
    fleet.assert_good(fleet.get_at(names[0]))
    newest, stale = 0, 0
    read, write = VaultStore.read, VaultStore.write

    def watched_read(store: VaultStore, where: Location, deadline: Deadline) -> Document:
        nonlocal stale
        found = read(store, where, deadline)
        stale += where.path == fleet.grant_path and found.version < newest
        return found

    def watched_write(store: VaultStore, where: Location, *rest: Any) -> int:
        nonlocal newest
        version = write(store, where, *rest)
        newest = max(newest, version) if where.path == fleet.grant_path else newest
        return version

    with patch.object(VaultStore, "read", watched_read), patch.object(VaultStore, "write", watched_write):
        for turn in range(ROUNDS):
            one = wirings[turn % 2]
            issuer = one.issuer(one.settings.profile(fleet.profile))
            ticket = issuer.ticket(Demand(force=True), Deadline.after(60))
            assert emulator.access_alive(ticket.ticket.access_token.reveal()), turn
    for one in wirings:
        one.close()
    stats = emulator.stats()
    print(f"{stale} reads of the grant were stale, {stats.refreshes} refreshes in {ROUNDS} rounds")
    assert stale, "no standby lagged: nothing is shown"
    assert (stats.reuses, stats.rejected, stats.repeats) == (0, 0, 0)
    assert stats.refreshes == stats.requests
    assert fleet.has_the_newest_token()


def wiring(fleet: Fleet, name: str) -> Wiring:
    environ = fleet.host(name).env()
    return Wiring(load_settings(environ), environ, cached=False)


def test_hosts_at_all_three_nodes_share_one_refresh(fleet: Fleet, cluster: RaftCluster, emulator: Emulator) -> None:
    fleet.put_ticket(left=-5)
    emulator.behaviour.delay = 1.0
    started = [fleet.start(f"at-{node.node}", "--timeout", "60s") for node in cluster.nodes for _ in range(4)]
    tickets = {fleet.assert_good(result) for result in ends(started)}
    assert len(tickets) == 1
    assert emulator.stats().requests == 1


def test_the_token_is_saved_though_the_leader_dies_right_after_the_answer(
    fleet: Fleet, cluster: RaftCluster, emulator: Emulator
) -> None:
    """Last here: it takes a node away, and brings it back."""
    emulator.behaviour.delay = 1.0
    standby = cluster.standbys()[0]
    process = fleet.start(f"at-{standby.node}", "--timeout", "60s")
    wait_until(lambda: emulator.stats().refreshes == 1, "the spend")
    killed = cluster.kill_leader()
    result = finish(process, 120)
    fleet.assert_good(result)
    fleet.bao = cluster.leader()
    assert fleet.journals(f"at-{standby.node}") == []
    assert fleet.has_the_newest_token()
    other = next(node for node in cluster.nodes if node.running and node is not standby)
    fleet.assert_good(fleet.get_at(f"at-{other.node}", "--force", "--timeout", "90s"))
    assert emulator.stats().reuses == 0
    assert fleet.has_the_newest_token()
    assert not killed.running
