"""What a daemon builds from its settings: as `wiring` does for a command, measured, and for all profiles at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vault_ticket_plugin import environment
from vault_ticket_plugin.clock import Deadline, Moment
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.issuer import Issuer
from vault_ticket_plugin.model import ClientIdentity, Demand, Document, LiveTicket, Location, TokenResponse
from vault_ticket_plugin.ports import KvStore, TokenEndpoint
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.wiring import Wiring

# A call's name, the seconds it took, whether it worked.
Observe = Callable[[str, float, bool], None]


@dataclass(frozen=True)
class DaemonWiring(Wiring):
    """A command's wiring, measured, with an issuer for each profile."""

    vault_seconds: Observe = lambda _call, _seconds, _worked: None
    """Gets how long each call to Vault took, its retries included."""
    endpoint_seconds: Observe = lambda _call, _seconds, _worked: None
    """Likewise each call to the token endpoint."""

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """The configured ones, else the default one."""
        names = list(self.settings.profiles) or [environment.profile_name(self.environ, None)]
        return {name: self.settings.profile(name) for name in names}

    @cached_property
    def issuers(self) -> Mapping[str, Issuer]:
        return {name: self.issuer(profile) for name, profile in self.profiles.items()}

    @cached_property
    def store(self) -> KvStore:  # type: ignore[override]
        return _TimedStore(super().store, self.vault_seconds)

    def ask_daemon(self, profile: Profile) -> None:
        """Nobody: where commands ask a daemon, it is this one."""

    def endpoint(self, profile: Profile) -> TokenEndpoint:
        return _TimedEndpoint(super().endpoint(profile), self.endpoint_seconds)

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        """`TicketSource` (ports.py), in silence: the keeper looks at the problem."""
        return self.issuers[profile].issue(demand, deadline)

    def journal_waiting(self) -> int:
        """How many rotated refresh tokens on this host are not in Vault."""
        return self.journal.count()

    def replay(self, deadline: Deadline) -> None:
        """Bring into Vault what it could not take before."""
        if self.journal_waiting():
            for issuer in self.issuers.values():
                with contextlib.suppress(VaultTicketError):  # the next try, or the next refresh, will tell
                    issuer.replay(deadline)


@contextlib.contextmanager
def _timed(observe: Observe, call: str) -> Iterator[None]:
    began, worked = time.perf_counter(), False
    try:
        yield
        worked = True
    finally:
        observe(call, time.perf_counter() - began, worked)


class _TimedStore:
    """`KvStore` (ports.py)."""

    def __init__(self, store: KvStore, observe: Observe) -> None:
        self._store = store
        self._observe = observe

    def now(self) -> Moment:
        return self._store.now()

    def read(self, where: Location, deadline: Deadline) -> Document:
        with _timed(self._observe, "read"):
            return self._store.read(where, deadline)

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None, deadline: Deadline) -> int:
        with _timed(self._observe, "write"):
            return self._store.write(where, data, cas, deadline)

    def current_version(self, where: Location, deadline: Deadline) -> int:
        with _timed(self._observe, "current_version"):
            return self._store.current_version(where, deadline)

    def custom_metadata(self, where: Location, deadline: Deadline) -> Mapping[str, Any]:
        with _timed(self._observe, "custom_metadata"):
            return self._store.custom_metadata(where, deadline)

    def patch_custom_metadata(self, where: Location, changes: Mapping[str, str], deadline: Deadline) -> None:
        with _timed(self._observe, "patch_custom_metadata"):
            self._store.patch_custom_metadata(where, changes, deadline)

    def may_write(self, where: Location, new: bool, deadline: Deadline) -> bool:
        with _timed(self._observe, "may_write"):
            return self._store.may_write(where, new, deadline)

    def expire(self, where: Location, after: float, deadline: Deadline) -> None:
        with _timed(self._observe, "expire"):
            self._store.expire(where, after, deadline)

    def destroy(self, where: Location, versions: list[int], deadline: Deadline) -> None:
        with _timed(self._observe, "destroy"):
            self._store.destroy(where, versions, deadline)


class _TimedEndpoint:
    """`TokenEndpoint` (ports.py)."""

    def __init__(self, endpoint: TokenEndpoint, observe: Observe) -> None:
        self._endpoint = endpoint
        self._observe = observe

    def refresh(
        self, refresh_token: Secret, client: ClientIdentity, send_by: Deadline, deadline: Deadline
    ) -> TokenResponse:
        with _timed(self._observe, "refresh"):
            return self._endpoint.refresh(refresh_token, client, send_by, deadline)

    def revoke(self, access_token: Secret, client: ClientIdentity | None, deadline: Deadline) -> bool:
        with _timed(self._observe, "revoke"):
            return self._endpoint.revoke(access_token, client, deadline)
