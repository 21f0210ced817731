"""Runs a plan, and tells what came of it."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.simulation import faults, hosts
from tests.simulation.actors import Actor, Violation
from tests.simulation.calls import Handed
from tests.simulation.invariants import CROSSED, STORE_RACE, SWITCHED_OFF
from tests.simulation.plan import Act, Fault, Plan, draw, shortest
from tests.simulation.scheduler import START, TAIL
from tests.simulation.server import family_of
from tests.simulation.world import World
from vault_ticket_plugin.errors import ClientRejected, EndpointUnavailable, GrantRejected
from vault_ticket_plugin.log import NAME

# The longest cooldown after a failure; a claim's length, and what a call takes besides.
COOLDOWN, ONE_CLAIM = 61.0, 20.0
OFF = frozenset(SWITCHED_OFF)


class Report(NamedTuple):
    """What came of a run."""

    plan: Plan
    failure: BaseException | None
    digest: str
    steps: int
    happened: tuple[Fault, ...]
    met: Counter[tuple[str, str]]
    passed: Counter[str]
    tail: tuple[str, ...]

    @property
    def violated(self) -> str:
        """The name of what did not hold; empty if all did."""
        if self.failure is None:
            return ""
        return self.failure.name if isinstance(self.failure, Violation) else type(self.failure).__name__


def run(plan: Plan, off: frozenset[str] = OFF) -> Report:
    """One run from its beginning to its end."""
    with hosts.folders() as place, _quiet():
        world = World(plan, place, off)
        failure: BaseException | None = None
        try:
            with hosts.simulated(world.scheduler, world.network.exchange):
                try:
                    for act in plan.acts:
                        world.scheduler.at(START + act.at, "act", act, functools.partial(world.begin, act))
                    world.scheduler.run(float("inf"))
                    in_the_end(world)
                finally:
                    world.close()
        except (Violation, Exception) as error:  # noqa: BLE001 - it is what the run was for
            failure = error
    scheduler = world.scheduler
    return Report(
        plan,
        failure,
        scheduler.digest(),
        scheduler.step,
        tuple(world.happened),
        world.met,
        world._passed,
        tuple(scheduler.tail[-TAIL:]),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger(NAME)
    before, logger.disabled = logger.disabled, True
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.disabled = before
        logger.setLevel(level)


def in_the_end(world: World) -> None:
    """Faults stop. Then everybody gets a ticket, or is told who must do what."""
    scheduler = world.scheduler
    world.faults_end = True
    for host in world.hosts:
        host.wakes, host.late = min(host.wakes, scheduler.now), 0.0
    world.cluster.lag = min(world.cluster.lag, 0.1)
    world.server.busy_until = world.server.down_until = START
    world.cluster.down_until = world.cluster.sealed_until = START
    for passing in (COOLDOWN, world.server.lifetime + COOLDOWN):
        scheduler.now += passing
        world.ledger.troubled.clear()
        for number in range(len(world.hosts)):
            _is_served(world, Act(0.0, "get", number))


def _is_served(world: World, act: Act) -> None:
    actor = _finish(world, act)
    if isinstance(actor.result, Handed):
        return
    error = actor.error
    if isinstance(error, EndpointUnavailable) and error.retry_after is not None:
        world.scheduler.now += error.retry_after + COOLDOWN
        actor = _finish(world, act)
        if isinstance(actor.result, Handed):
            return
        error = actor.error
    if isinstance(error, GrantRejected):
        _is_explained(world, error)
        world.people.put()
        world.scheduler.now += COOLDOWN
        actor = _finish(world, act)
        if isinstance(actor.result, Handed):
            return
    raise Violation("END", f"{actor.name} gets no ticket: {type(actor.error).__name__} {actor.error}")


def _finish(world: World, act: Act) -> Actor:
    actor = world.begin(act)
    assert actor is not None
    world.scheduler.run(float("inf"))
    return actor


def _is_explained(world: World, error: GrantRejected | ClientRejected) -> None:
    """P7: whoever is rejected because we used a token twice is told so."""
    name = family_of(str(world.people.document().get("refresh_token", "")))
    ended_by = world.server.families[name].ended_by
    raced = STORE_RACE in world.off and name in world.ledger.raced
    raced |= CROSSED in world.off and name in world.ledger.crossed
    if ended_by == "a person" or raced:
        return
    if not ended_by or "its answer was lost" not in error.message:
        raise Violation("END", f"the grant was ended ({ended_by or 'not at all'}), and the message is: {error.message}")
    if name not in world.ledger.excused:
        raise Violation("END", f"the grant was ended ({ended_by}), and nothing that may cost it has happened")


def run_seed(seed: int, off: frozenset[str] = OFF) -> Report:
    return run(draw(seed, faults.points_of, off), off)


def shrunk(report: Report, off: frozenset[str] = OFF) -> Report:
    """The run with the shortest list of faults that still fails in the same way."""
    plan = report.plan._replace(aims=())

    def fails(kept: tuple[Fault, ...]) -> bool:
        return run(plan._replace(faults=kept), off).violated == report.violated

    return run(plan._replace(faults=shortest(report.happened, fails)), off)


def told(report: Report, lines: int = 30) -> str:
    """A failing run, as a person needs it."""
    happened = ", ".join(f"{fault.kind} at step {fault.step}" for fault in report.happened) or "none"
    head = [f"seed {report.plan.seed} {report.plan.name}: {report.failure!r}", f"faults: {happened}"]
    return "\n".join([*head, str(report.plan.setting), *report.tail[-lines:]])
