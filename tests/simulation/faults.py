"""What can go wrong, where it can, and what it then does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.actors import Actor
from tests.simulation.network import Exchange
from vault_ticket_plugin.transport.exchange import NotSent

if TYPE_CHECKING:
    from tests.simulation.world import World

# Long enough for a claim to end meanwhile; and for a token endpoint to be worth waiting for.
STOPPED, SEALED, AWAY = 60.0, 15.0, 3.0
# A claim ends meanwhile, the caller's patience only with the longer one.
SUSPENDED = (17.0, 20.0, 40.0)
# A wall clock's step, and what a server asks for.
STEP, RETRY_AFTER = 3600.0, 20
# How late an answer is; and a request, which is processed within the claim or never (docs/promela/README.md).
ANSWER_LATE, REQUEST_LATE, VAULT_LATE = 9.0, 1.5, 5.0

# What may cost us a token by the design's own words: a process's end by SIGKILL, a lost message, a server that fails.
EXCUSES = frozenset({"kill", "suspend", "stop", "refuse", "lose", "cut", "broken", "gateway", "busy", "down", "seal"})
STAGES = ("leave", "arrive", "processed", "answered", "read")
BY_SERVER = {"spend", "revoke"}
VAULT_CALLS = (
    *("read grant", "write grant", "read token", "write token", "read metadata of grant", "write metadata of token"),
    *("write destroy of token", "delete token", "log in", "revoke-self", "look up mount", "look up rights"),
)
# What few runs meet is aimed at by all, for most will miss.
SELDOM = ("write destroy of token", "delete token", "log in", "revoke-self", "look up rights", "revoke", "revoke")
FILES = (
    *("create new file", "write file", "rename journal", "rename cached ticket", "rename failure", "remove failure"),
    *("remove journal", "remove cached ticket", "create lock", "open journal", "open cached ticket", "open failure"),
    *("open folder", "make folder", "list folder", "lock"),
)
SELDOM_FILES = ("make folders", "remove new file", "remove cached ticket", "remove journal", "sync", "rename failure")


class Kind(NamedTuple):
    """`stages`: of an exchange; `anywhere`: at an actor's other await points too."""

    do: Callable[[World, Actor | Exchange], None]
    stages: tuple[str, ...]
    anywhere: bool = False
    only: frozenset[str] = frozenset()
    """The exchanges that it can meet; empty for all."""


def stage_of(point: str) -> str:
    """Of an exchange; empty for any other await point."""
    stage = point.rpartition(": ")[2]
    return stage if stage in STAGES else ""


def can_meet(kind: str, point: str) -> bool:
    stage, found = stage_of(point), KINDS[kind]
    if not stage:
        return found.anywhere and not point.endswith(" late") and point != "act"
    return stage in found.stages and (not found.only or point.rpartition(": ")[0] in found.only)


def points_of(kind: str, seldom: bool = False) -> tuple[str, ...]:
    """Where a plan may aim it."""
    return SELDOM_AT[kind] if seldom else POINTS[kind]


# -- to a process and its host


def _kill(world: World, subject: Actor | Exchange) -> None:
    world.killed(_actor(subject))


def _hang_up(world: World, subject: Actor | Exchange) -> None:
    """The terminal is closed: no handler of ours runs, and no doubt of ours is excused by it."""
    actor = _actor(subject)
    if actor.kind != "round":
        actor.signalled = "HUP"
        world.killed(actor)


def _signal(name: str, raised: Callable[[], BaseException]) -> Callable[[World, Actor | Exchange], None]:
    def do(world: World, subject: Actor | Exchange) -> None:
        actor = _actor(subject)
        if actor.kind == "round":
            return  # a daemon's handler lets the round end
        actor.signalled = name
        actor.raising = raised()
        world.ledger.disturbed(world.scheduler.now, actor.process.machine.name)

    return do


def _suspend(world: World, subject: Actor | Exchange) -> None:
    host = world.host_of(_actor(subject))
    host.wakes = world.scheduler.now + world.scheduler.chance.choice(SUSPENDED)
    world.ledger.disturbed(world.scheduler.now, host.name)


def _stop(world: World, subject: Actor | Exchange) -> None:
    """Ctrl-Z, and later `fg`."""
    actor = _actor(subject)
    actor.process.wakes = world.scheduler.now + STOPPED
    world.ledger.stopped.add(actor)


def _clock(world: World, subject: Actor | Exchange) -> None:
    host = world.host_of(_actor(subject))
    host.clock.skew += STEP if host.clock.skew <= 0 else -STEP
    world.ledger.disturbed(world.scheduler.now, host.name)


def _log_out(world: World, subject: Actor | Exchange) -> None:
    host = world.host_of(_actor(subject))
    world.log_out(host)


def _person(what: str) -> Callable[[World, Actor | Exchange], None]:
    def do(world: World, _subject: Actor | Exchange) -> None:
        world.people.act(what)

    return do


# -- to an exchange


def _refuse(_world: World, subject: Actor | Exchange) -> None:
    _actor(subject).raising = NotSent("connection refused")


def _lose(_world: World, subject: Actor | Exchange) -> None:
    _exchange(subject).lost = True


def _cut(_world: World, subject: Actor | Exchange) -> None:
    _exchange(subject).cut = True


def _late(_world: World, subject: Actor | Exchange) -> None:
    exchange = _exchange(subject)
    if exchange.target == "vault":
        exchange.late = VAULT_LATE
    else:
        exchange.late = ANSWER_LATE if exchange.processed else REQUEST_LATE


def _broken(_world: World, subject: Actor | Exchange) -> None:
    _exchange(subject).broken = True


def _gateway(_world: World, subject: Actor | Exchange) -> None:
    """Done, and told as a server that can't: a gateway's 503 after its upstream broke off."""
    _exchange(subject).broken = True
    _exchange(subject).gateway = True


def _wall(_world: World, subject: Actor | Exchange) -> None:
    _exchange(subject).walled = True


def _busy(world: World, _subject: Actor | Exchange) -> None:
    world.server.busy_until = world.scheduler.now + AWAY
    world.server.retry_after = RETRY_AFTER


def _down(world: World, subject: Actor | Exchange) -> None:
    until = world.scheduler.now + AWAY
    if _exchange(subject).target == "vault":
        world.cluster.down_until = until
    else:
        world.server.down_until = until


def _seal(world: World, _subject: Actor | Exchange) -> None:
    world.cluster.sealed_until = world.scheduler.now + SEALED


def _actor(subject: Actor | Exchange) -> Actor:
    return subject if isinstance(subject, Actor) else subject.actor


def _exchange(subject: Actor | Exchange) -> Exchange:
    assert isinstance(subject, Exchange)
    return subject


_BY_VAULT, _BY_SERVER = frozenset(VAULT_CALLS), frozenset(BY_SERVER)
_OURS = ("leave", "read")
KINDS: Mapping[str, Kind] = {
    "kill": Kind(_kill, _OURS, anywhere=True),
    "hup": Kind(_hang_up, _OURS, anywhere=True),
    "term": Kind(_signal("TERM", lambda: SystemExit(143)), _OURS, anywhere=True),
    "int": Kind(_signal("INT", KeyboardInterrupt), _OURS, anywhere=True),
    "suspend": Kind(_suspend, _OURS, anywhere=True),
    "stop": Kind(_stop, _OURS, anywhere=True),
    "clock": Kind(_clock, _OURS, anywhere=True),
    "log out": Kind(_log_out, _OURS, anywhere=True),
    "put": Kind(_person("put"), _OURS, anywhere=True),
    "patch": Kind(_person("patch"), _OURS, anywhere=True),
    "edit": Kind(_person("edit"), _OURS, anywhere=True),
    "refuse": Kind(_refuse, ("leave",)),
    "lose": Kind(_lose, ("arrive", "answered")),
    "cut": Kind(_cut, ("arrive", "answered")),
    "late": Kind(_late, ("arrive", "answered")),
    "broken": Kind(_broken, ("processed",), only=_BY_SERVER),
    "gateway": Kind(_gateway, ("processed",), only=_BY_SERVER),
    "wall": Kind(_wall, ("processed",), only=frozenset({"spend"})),
    "busy": Kind(_busy, ("processed",), only=_BY_SERVER),
    "down": Kind(_down, ("processed",)),
    "seal": Kind(_seal, ("processed",), only=_BY_VAULT),
}
ALL_POINTS = (
    *(f"{call}: {stage}" for call in (*VAULT_CALLS, "spend", "spend", "spend", "revoke") for stage in STAGES),
    *FILES,
    *SELDOM_FILES,
    *("begin", "sleep", "sleep"),
)
SELDOM_POINTS = (*(f"{call}: {stage}" for call in SELDOM for stage in STAGES), *SELDOM_FILES)
POINTS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(point for point in ALL_POINTS if can_meet(kind, point)) for kind in KINDS
}
SELDOM_AT: Mapping[str, tuple[str, ...]] = {
    kind: tuple(point for point in SELDOM_POINTS if can_meet(kind, point)) for kind in KINDS
}
