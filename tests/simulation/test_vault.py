"""The simulated Vault answers as the servers did whose answers were recorded (tests/contract/server_answers.json).

tests/contract/test_store.py runs the store's cases against it, beside a real server.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract import calls, normal, recorded
from tests.contract.calls import Body, Reply
from tests.simulation.cluster import Cluster
from tests.simulation.scheduler import START
from tests.simulation.vault import ROLE, ROOT, State
from vault_ticket_plugin.transport.exchange import HttpResponse

SERVER = "OpenBao 2.7.2"
# What it does not model: limits of size and shape, and fields that we never send.
NOT_MODELLED = {
    *("kv2 metadata, unknown field", "kv2 metadata, duration of a fraction", "path with a space"),
    *("kv2 write, not JSON", "kv2 write, data of another shape"),
}
WRONG = f"hvs.{'a' * 24}"


class Asked:
    """Asks the leader, a second a call; `answers` has the named ones in the shape of the file."""

    def __init__(self) -> None:
        self.now = START
        self.cluster = Cluster(State({"secret": 2, "kv1": 1}), lambda: self.now)
        self.answers: dict[str, dict[str, Any]] = {}

    def __call__(
        self,
        name: str,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        self.now += 1.0
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"x-vault-token": ROOT if token is None else token, **(headers or {})}
        found = self.cluster.handle(method, path, given, sent, at_standby=False)
        assert isinstance(found, HttpResponse)
        if name:
            self.answers[name] = normal.answer(found.status, None, found.body)
        return Reply(found.status, found.body)


@pytest.fixture(scope="module")
def asked() -> Asked:
    """All the calls of that list that it models."""
    ask = Asked()
    ask("kv1 write", "POST", "kv1/x", {"access_token": "x", "ttl": "30s"})
    ask("kv1 read", "GET", "kv1/x")
    ask("kv1 read, never written", "GET", "kv1/none")
    calls._writes(ask)
    calls._ticket(ask)
    ask("wrong token", "GET", calls.GRANT, token=WRONG)
    ask("no token", "GET", calls.GRANT, token="")
    ask("approle login", "POST", calls.LOGIN, {"role_id": ROLE, "secret_id": "secret-1"}, token="")
    ask("approle login, nothing", "POST", calls.LOGIN, {}, token="")
    ask("approle login, wrong secret id", "POST", calls.LOGIN, {"role_id": ROLE, "secret_id": "x"}, token="")
    ask("mount of a path, none there", "GET", f"{calls.MOUNTS}/nowhere/t/x")
    mine = json.loads(ask("", "POST", calls.LOGIN, {"role_id": ROLE, "secret_id": "secret-1"}).body)
    ask("revoke-self", "POST", "auth/token/revoke-self", {}, token=mine["auth"]["client_token"])
    ask("revoked token", "GET", calls.TICKET, token=mine["auth"]["client_token"])
    ask.cluster.sealed_until = ask.now + 60.0
    ask("sealed: read", "GET", calls.TICKET)
    return ask


def known(answer: Mapping[str, Any]) -> tuple[int, Any]:
    """Status, errors, and of the rest what our code reads."""
    body = answer["body"] if isinstance(answer["body"], dict) else {}
    data = body.get("data")
    return answer["status"], (body.get("errors"), _read(data) if isinstance(data, dict) else None)


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("data", "metadata", "version", "deletion_time", "destroyed", "current_version", "a")
    found = {name: data[name] for name in fields if name in data}
    return {name: _read(value) if isinstance(value, dict) else value for name, value in found.items()}


def test_as_recorded(asked: Asked) -> None:
    rows = recorded.of(SERVER)
    names = [name for name in asked.answers if name not in NOT_MODELLED]
    assert len(names) > 25
    assert {name: known(asked.answers[name]) for name in names} == {name: known(rows[name]) for name in names}
