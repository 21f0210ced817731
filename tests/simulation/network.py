"""One HTTP exchange, in place of the transport's: it leaves, arrives, is processed, is answered, and is read.

Each stage is an await point, and may be late or lost; a message never comes twice. What has left arrives whatever
becomes of its sender: the dead, and those that gave up waiting, have still sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from tests.simulation.actors import Actor
from tests.simulation.cluster import Refused
from tests.simulation.scheduler import Scheduler
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.transport.exchange import HttpResponse, Interrupted, NotSent

Target = Literal["vault", "server"]
# Seconds on the way, mostly; and sometimes.
USUAL, SLOW = (0.001, 0.03), (0.05, 0.8)
SLOW_SHARE = 0.05


@dataclass(eq=False)
class Exchange:
    """One request and what becomes of it. The flags are set by faults."""

    actor: Actor
    target: Target
    label: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    answer: HttpResponse | Exception | None = None
    sent: bool = False
    arrived: bool = False
    processed: bool = False
    read: bool = False
    lost: bool = False
    """It, or its answer, goes nowhere, and nobody is told."""
    cut: bool = False
    """Its connection breaks."""
    late: float = 0.0
    """Seconds that it is held up at this stage."""
    broken: bool = False
    """The server fails after it has done what was asked."""
    gateway: bool = False
    """It is a gateway before it that fails."""
    walled: bool = False
    """A firewall answers in its place."""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


class Servers(Protocol):
    """Whoever answers, and whoever wants to know."""

    def handle(self, exchange: Exchange) -> HttpResponse | Refused:
        """At the moment at which it is processed."""

    def lateness(self, exchange: Exchange) -> float:
        """Seconds that each answer takes to that host."""

    def sent(self, exchange: Exchange) -> None:
        """It has left."""

    def settled(self, exchange: Exchange) -> None:
        """It was processed, or will never be."""

    def received(self, exchange: Exchange) -> None:
        """Its answer was read."""


class Network:
    """Carries exchanges. `in_world`: a moment of the actor's host's clock, as the world's time."""

    def __init__(self, scheduler: Scheduler, servers: Servers, in_world: Callable[[Deadline], float]) -> None:
        self._scheduler = scheduler
        self._servers = servers
        self._in_world = in_world

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
        read_seconds: float,
    ) -> HttpResponse:
        """As `Transport.exchange` (transport/exchange.py)."""
        scheduler, actor = self._scheduler, self._scheduler.current
        assert actor is not None, "only an actor has a network"
        target, label = classified(method, url)
        exchange = Exchange(actor, target, label, method, url, headers, body)

        scheduler.pause(f"{label}: leave")
        if deadline.passed():
            raise NotSent("it took too long")
        exchange.sent = True
        self._servers.sent(exchange)
        scheduler.at(scheduler.now + self._delay(), f"{label}: arrive", exchange, lambda: self._arrive(exchange))

        ends = min(self._in_world(deadline), scheduler.now + read_seconds)
        while exchange.answer is None and scheduler.now < ends:
            scheduler.pause(f"{label}: read", ends)
        if exchange.answer is None:
            raise Interrupted("it took too long")
        if isinstance(exchange.answer, Exception):
            raise exchange.answer
        exchange.read = True
        self._servers.received(exchange)
        return exchange.answer

    # -- on its way

    def _arrive(self, exchange: Exchange) -> None:
        scheduler = self._scheduler
        if self._held_up(exchange, "arrive", lambda: self._arrive(exchange)):
            return
        if exchange.lost or exchange.cut:
            self._servers.settled(exchange)
            self._answer(exchange, None if exchange.lost else Interrupted("the connection broke"))
            return
        exchange.arrived = True
        label = f"{exchange.label}: processed"
        scheduler.at(scheduler.now + self._delay(), label, exchange, lambda: self._process(exchange))

    def _process(self, exchange: Exchange) -> None:
        if self._held_up(exchange, "processed", lambda: self._process(exchange)):
            return
        found = self._servers.handle(exchange)
        exchange.processed = True
        self._servers.settled(exchange)
        scheduler = self._scheduler
        if isinstance(found, Refused):
            self._answer(exchange, NotSent(found.reason))
            return
        scheduler.note(f"{exchange.actor.name} {exchange.label}: {found.status} {found.body!r}")
        label = f"{exchange.label}: answered"
        delay = self._delay() + self._servers.lateness(exchange)
        scheduler.at(scheduler.now + delay, label, exchange, lambda: self._arrive_back(exchange, found))

    def _arrive_back(self, exchange: Exchange, found: HttpResponse) -> None:
        if self._held_up(exchange, "answered", lambda: self._arrive_back(exchange, found)):
            return
        lost = Interrupted("the connection broke") if exchange.cut else None
        self._answer(exchange, lost if exchange.lost or exchange.cut else found)

    def _held_up(self, exchange: Exchange, stage: str, again: Callable[[], None]) -> bool:
        late, exchange.late = exchange.late, 0.0
        if late:
            self._scheduler.at(self._scheduler.now + late, f"{exchange.label}: {stage} late", exchange, again)
        return bool(late)

    def _answer(self, exchange: Exchange, answer: HttpResponse | Exception | None) -> None:
        """Without one, whoever waits does so until it has had enough."""
        if answer is not None:
            exchange.answer = answer
            if exchange.actor.at == f"{exchange.label}: read":
                exchange.actor.due = self._scheduler.now

    def _delay(self) -> float:
        chance = self._scheduler.chance
        return chance.uniform(*(SLOW if chance.random() < SLOW_SHARE else USUAL))


def classified(method: str, url: str) -> tuple[Target, str]:
    """Which server, and what the exchange is called."""
    parts = urlsplit(url)
    if not parts.path.startswith("/v1/"):
        return "server", "revoke" if parts.path.endswith("/revoke") else "spend"

    path = parts.path.removeprefix("/v1/")
    kind, what = path.split("/", 2)[1], path.rpartition("/")[2]
    named = {"approle": "log in", "token": what, "internal": "look up mount", "capabilities-self": "look up rights"}
    if kind in named:
        return "vault", named[kind]
    verb = {"GET": "read", "POST": "write", "PATCH": "patch", "DELETE": "delete"}[method]
    return "vault", f"{verb} {what}" if kind not in ("metadata", "destroy") else f"{verb} {kind} of {what}"
