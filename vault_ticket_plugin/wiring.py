"""Builds the parts from the settings: the only place that knows Vault and the token endpoint both.

requests and all it brings are imported when a call really has to leave this host.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vault_ticket_plugin import environment
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline, to_rfc3339
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.events import EventSink, discard
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.cache import Cache, open_runtime
from vault_ticket_plugin.host.lock import HostLock
from vault_ticket_plugin.issuer import AskDaemon, Issuer
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket
from vault_ticket_plugin.places import places
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile

if TYPE_CHECKING:
    from vault_ticket_plugin.ports import TokenEndpoint
    from vault_ticket_plugin.refresh.carrier import Carrier
    from vault_ticket_plugin.refresh.transaction import Transaction
    from vault_ticket_plugin.vault.admin import Admin
    from vault_ticket_plugin.vault.kv import VaultStore
    from vault_ticket_plugin.vault.session import VaultSession

# To take back a one-shot command's own token. The credential is out already; nobody should wait long for this.
REVOKE_SECONDS = 2.0


@dataclass(frozen=True)
class Wiring:
    """The parts of one command (or of a daemon), made when first asked for."""

    settings: Settings
    environ: Mapping[str, str]
    cached: bool = True
    """Whether this host's cache of tickets is read and written."""
    clock: Clock = HOST_CLOCK
    emit: EventSink = discard
    one_shot: bool = False
    """Whether this is a command that ends soon, in its main thread: a spend then gets a process of its own."""

    @cached_property
    def runtime(self) -> Folder | None:
        return open_runtime(self.environ)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.runtime, lambda: places(self.environ))

    @cached_property
    def session(self) -> VaultSession:
        from vault_ticket_plugin.vault.logins import log_in
        from vault_ticket_plugin.vault.session import VaultSession

        return VaultSession(self.settings.vault, log_in, self.clock)

    @cached_property
    def store(self) -> VaultStore:
        from vault_ticket_plugin.vault.kv import VaultStore

        return VaultStore(self.session)

    @cached_property
    def carrier(self) -> Carrier:
        if not self.one_shot:
            from vault_ticket_plugin.host.background import InThread

            return InThread()

        from vault_ticket_plugin.host.detached import Detached, Needs

        return Detached(Needs(self._descriptors, self._hand_over, self._end, self.claim_seconds))

    @cached_property
    def claim_seconds(self) -> float:
        """How long a claim of ours lasts at most, and so a spend that nobody waits for any more."""
        profiles = self.settings.profiles.values()
        return max([one.claim_seconds for one in profiles], default=Profile.standard("any").claim_seconds)

    def _descriptors(self) -> list[int]:
        """What a process needs that spends for us."""
        folder = self.runtime
        kept = [] if folder is None else [folder.fd]
        return kept + (self.session.descriptors() if "session" in self.__dict__ else [])

    def _hand_over(self) -> None:
        """A process has login and connections from now on."""
        if "session" in self.__dict__:
            self.session.hand_over()

    def admin(self, deadline: Deadline) -> Admin:
        from vault_ticket_plugin.vault.admin import Admin

        return Admin(self.session, deadline)

    @cached_property
    def holder(self) -> str:
        """Who we are, as a person on another host reads it."""
        return f"{socket.gethostname()} (pid {os.getpid()}, since {to_rfc3339(self.clock.wall())})"

    def endpoint(self, profile: Profile) -> TokenEndpoint:
        from vault_ticket_plugin.oauth.token_endpoint import HttpTokenEndpoint

        return HttpTokenEndpoint(profile, self.clock)

    def wrap(self, ticket: Ticket, seconds: float, deadline: Deadline) -> Secret:
        from vault_ticket_plugin.vault import wrapping

        return wrapping.wrap(self.session, ticket, seconds, deadline)

    def unwrap(self, token: Secret, deadline: Deadline) -> LiveTicket:
        from vault_ticket_plugin.vault import wrapping

        ticket = wrapping.unwrap(self.session, token, deadline)
        return LiveTicket.at(ticket, self.session.now().latest, self.clock.monotonic())

    def cache(self, profile: Profile) -> Cache:
        return Cache(
            folder=self.runtime,
            profile=profile.name,
            ticket_key=self.settings.ticket_key(profile),
            config_version=self.settings.config_version,
            environment_key=environment.environment_key(self.environ, self.settings.path),
            clock=self.clock,
            tickets=self.cached and self.settings.cache,
        )

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        """`TicketSource` (ports.py), for a command: what is wrong although a ticket is there is logged."""
        return self.issuer(self.settings.profile(profile)).ticket(demand, deadline)

    def issuer(self, profile: Profile) -> Issuer:
        grant_key = self.settings.grant_key(profile)
        return Issuer(
            profile=profile,
            connect=lambda: self.store,
            transact=functools.cache(lambda: self._transaction(profile)),
            carrier=lambda: self.carrier,
            cache=self.cache(profile),
            lock=HostLock(self.runtime, f"{grant_key}.lock"),
            journal=self.journal,
            clock=self.clock,
            ask_daemon=self.ask_daemon(profile),
            daemon_only=not self.settings.vault.address,
        )

    def _transaction(self, profile: Profile) -> Transaction:
        from vault_ticket_plugin.host.claim_watch import FileWatches
        from vault_ticket_plugin.refresh.transaction import Transaction

        return Transaction(
            profile=profile,
            store=self.store,
            endpoint=self.endpoint(profile),
            journal=self.journal,
            watches=FileWatches(self.runtime, f"{self.settings.grant_key(profile)}.watch"),
            holder=self.holder,
            address=self.settings.grant_address(profile),
            clock=self.clock,
            emit=self.emit,
        )

    def ask_daemon(self, profile: Profile) -> AskDaemon | None:
        """How to ask the daemon for the profile's ticket, if its socket is named."""
        path, daemon_only = self.settings.socket, not self.settings.vault.address
        if path is None:
            return None

        def ask(min_ttl: float, deadline: Deadline) -> LiveTicket | None:
            from vault_ticket_plugin.host import daemon_client

            return daemon_client.request_ticket(path, profile.name, daemon_only, min_ttl, deadline)

        return ask

    def close(self) -> None:
        """End what was begun; a token that a login brought is taken back."""
        if "carrier" in self.__dict__:
            self.carrier.finish()
        self._end()

    def _end(self) -> None:
        if "session" in self.__dict__:
            with contextlib.suppress(VaultTicketError):
                self.session.revoke_own_login(Deadline.after(REVOKE_SECONDS, self.clock))
            self.session.close()
        if "runtime" in self.__dict__ and self.runtime is not None:
            self.runtime.close()


@contextlib.contextmanager
def wired(
    settings: Settings, environ: Mapping[str, str], cached: bool = True, one_shot: bool = True
) -> Iterator[Wiring]:
    """For a command. `one_shot` False: not in its main thread, or for longer than one ticket."""
    wiring = Wiring(settings, environ, cached, one_shot=one_shot)
    try:
        yield wiring
    finally:
        wiring.close()
