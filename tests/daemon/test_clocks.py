"""A host's clock is set while a daemon runs: tickets are judged by Vault's clock, spans by one that nobody sets."""

import pytest

from tests.daemon.serving import SourceOf
from tests.world import World
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon.keeper import Keeper
from vault_ticket_plugin.model import Demand, LiveTicket

STEP, HOURS = 60, 6


class Run:
    """A daemon on one host that looks after its profile once a minute, as a schedule that is never late would."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.host = world.host()
        issuer = self.host.process().issuer

        def issue(_name: str, demand: Demand, deadline: Deadline) -> LiveTicket:
            return issuer.issue(demand, deadline)

        self.keeper = Keeper(1, self.host.clock, lambda _change: None)
        self.keeper.replace({world.profile.name: (world.profile, "1")}, SourceOf(issue))

    def minute(self) -> None:
        self.world.wait(STEP)
        self.keeper.look_after(self.world.profile.name)

    def left(self) -> float:
        """What a ticket that is handed out now has left, by Vault's clock."""
        kept = self.keeper.ticket(self.world.profile.name, Demand(), Deadline.after(20, self.host.clock))
        return kept.ticket.expires_at - self.world.time.now


@pytest.fixture
def run(world: World) -> Run:
    world.seed()
    return Run(world)


@pytest.mark.parametrize("jump", [-86400.0, -1800.0, -30.0, 30.0, 1800.0, 86400.0])
def test_a_clock_that_jumps_costs_no_ticket(run: Run, jump: float) -> None:
    for minute in range(HOURS * 60):
        if minute in (30, 200):
            run.host.clock.skew += jump
        run.minute()
        assert run.left() > 120, f"minute {minute}"
    # A jump costs one look at Vault, not a spend.
    assert run.world.server.refreshes <= HOURS * 60 / 40 + 1
