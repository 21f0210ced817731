"""What answers an exchange, and what the ledger learns from it: `Servers` (network.py) of one world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.simulation.actors import Actor
from tests.simulation.cluster import Refused
from tests.simulation.ledger import Claimed, Sent
from tests.simulation.network import Exchange
from tests.simulation.people import GRANT
from tests.simulation.server import family_of
from tests.simulation.vault import document
from vault_ticket_plugin.clock import from_rfc3339
from vault_ticket_plugin.transport.exchange import HttpResponse

if TYPE_CHECKING:
    from tests.simulation.world import World

# The longer of the soft windows that a configuration here may have, and what rounding makes of it.
SOFT, ROUNDING = 120.0, 3.0


class Observed:
    """Vault and the token endpoint, with somebody who looks on."""

    def __init__(self, world: World) -> None:
        self._world = world

    # -- answers

    def handle(self, exchange: Exchange) -> HttpResponse | Refused:
        return self._at_server(exchange) if exchange.target == "server" else self._at_vault(exchange)

    def lateness(self, exchange: Exchange) -> float:
        world = self._world
        if exchange.target == "vault":
            return world.host_of(exchange.actor).late
        slow = world.plan.setting.slow
        return world.scheduler.chance.uniform(0.0, slow) if slow and not world.faults_end else 0.0

    def _at_vault(self, exchange: Exchange) -> HttpResponse | Refused:
        world, cluster = self._world, self._world.cluster
        at_standby = world.scheduler.chance.random() < world.plan.setting.standby
        path = exchange.path.removeprefix("/v1/")
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        before = cluster.state
        if exchange.label in ("write destroy of token", "delete token"):
            world.ledger.withdrawn.add(str(published(world, exchange.actor).get("access_token", "")))
        response = cluster.handle(exchange.method, path, headers, exchange.body, at_standby)

        if cluster.state.keys.get(GRANT) is not before.keys.get(GRANT):
            found = document(cluster.state, GRANT) or {}
            self._grant_written(exchange.actor, document(before, GRANT) or {}, found)
        elif cluster.state is not before and exchange.label == "write token":
            access = str(published(world, exchange.actor).get("access_token", ""))
            world.ledger.news.published.append((exchange.actor, access))
        return response

    def _at_server(self, exchange: Exchange) -> HttpResponse | Refused:
        world, body = self._world, exchange.body or b""
        if world.scheduler.now < world.server.down_until:
            return Refused()
        if exchange.walled:
            return world.server.wall()
        if exchange.label == "revoke":
            world.ledger.withdrawn.add(_field(body, "token"))
        return world.server.handle(exchange.path, body, exchange.broken, exchange.gateway)

    def _grant_written(self, actor: Actor, was: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        ledger = self._world.ledger
        ledger.grant_written(actor, was, found, self._world.scheduler.now)
        before, notes = was.get("vault_ticket") or {}, found.get("vault_ticket") or {}
        if notes.get("claim") and before.get("claim") != notes["claim"]:
            ledger.claims[actor] = Claimed(notes, fresh_is_published(self._world, actor))

    # -- what the ledger learns of a spend

    def sent(self, exchange: Exchange) -> None:
        if exchange.label == "spend":
            token, ledger, actor = _spent(exchange), self._world.ledger, exchange.actor
            ledger.pending[actor] = token
            if any(other is not actor and family == family_of(token) for other, family in ledger.storing.items()):
                ledger.raced.add(family_of(token))
            ledger.news.sent.append(Sent(actor, token))
            ledger.flying.setdefault(token, []).append(exchange)

    def settled(self, exchange: Exchange) -> None:
        if exchange.label == "spend":
            token = _spent(exchange)
            self._world.ledger.flying[token].remove(exchange)
            self._world.ledger.lost_by[exchange.actor] = token  # unless its answer comes to be read

    def received(self, exchange: Exchange) -> None:
        if exchange.label != "spend" or not isinstance(exchange.answer, HttpResponse):
            return
        token, actor, ledger = _spent(exchange), exchange.actor, self._world.ledger
        ledger.pending.pop(actor, None)
        if exchange.answer.status >= 500:
            return
        ledger.lost_by.pop(actor, None)
        if exchange.answer.status == 200:
            if actor.kind.startswith("store"):
                ledger.proved(actor, family_of(token))
            ledger.read(actor, token, exchange.answer.body)
        elif b"invalid_grant" in exchange.answer.body:
            ledger.rejections.setdefault(token, []).append(self._world.scheduler.now)


def published(world: World, actor: Actor) -> Mapping[str, Any]:
    """What is on the leased path of that call's profile."""
    profile = "helpdesk" if "helpdesk" in actor.name else "support"
    mount = "kv1" if world.plan.setting.ticket_kv == 1 else "secret"
    return document(world.cluster.state, f"{mount}/ticket/{profile}/token") or {}


def fresh_is_published(world: World, actor: Actor) -> bool:
    """Good at the server, and by what is written there further from its soft window than any rounding."""
    found = published(world, actor)
    if not world.server.alive(str(found.get("access_token", ""))):
        return False
    return from_rfc3339(str(found["expires_at"])) - world.cluster.clock() > SOFT + ROUNDING


def _spent(exchange: Exchange) -> str:
    return _field(exchange.body or b"", "refresh_token")


def _field(body: bytes, name: str) -> str:
    return parse_qs(body.decode()).get(name, [""])[0]
