"""What people do from elsewhere, with Vault's own tools and at the server: each is processed at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.server import CLIENT, family_of
from tests.simulation.vault import document

if TYPE_CHECKING:
    from tests.simulation.world import World

GRANT = "secret/ticket/support/grant"
GRANT_API = "secret/data/ticket/support/grant"


class People:
    """One operator, who knows of a new refresh token whenever one is wanted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.edits = 0

    def act(self, what: str) -> None:
        """put, patch, edit, end the grant."""
        {"put": self.put, "patch": self.patch, "edit": self.edit, "end the grant": self.end}[what]()

    def put(self) -> None:
        """`bao kv put`: nothing of what was there stays."""
        self._store("POST", {"client_id": CLIENT})

    def patch(self) -> None:
        """`bao kv patch`: our notes stay."""
        self._store("PATCH" if self.document() else "POST", {})

    def _store(self, method: str, more: Mapping[str, Any]) -> None:
        token = self._world.server.issue()
        self._world.ledger.person_stores(family_of(token), self._world.scheduler.now)
        if method == "POST":
            self._world.ledger.edits = None
        self._world.ledger.saved.add(token)
        self._world.cluster.act(method, GRANT_API, {"data": {"refresh_token": token, **more}})

    def edit(self) -> None:
        """Another field of the grant."""
        if self.document():
            self.edits += 1
            self._world.ledger.edits = self.edits
            self._world.cluster.act("PATCH", GRANT_API, {"data": {"edits": self.edits}})

    def end(self) -> None:
        """The grant is revoked at the server."""
        token = self.document().get("refresh_token")
        if token:
            self._world.server.end(family_of(token), "a person")

    def document(self) -> Mapping[str, Any]:
        return document(self._world.cluster.state, GRANT) or {}
