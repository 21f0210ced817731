"""A small world for tests of the protocol: Vault and the token endpoint in memory, hosts with real folders.

host = world.host("web-1")
process = host.process()
ticket = process.get()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes import CLIENT, FakeAuthServer, FakeEndpoint, FakeVault, SimClock, Time
from vault_ticket_plugin.clock import Deadline, to_rfc3339
from vault_ticket_plugin.errors import VaultUnreachable
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.cache import Cache
from vault_ticket_plugin.host.claim_watch import FileWatches
from vault_ticket_plugin.host.lock import HostLock
from vault_ticket_plugin.issuer import Issuer
from vault_ticket_plugin.model import ClientIdentity, Demand, Grant, Notes, Ticket
from vault_ticket_plugin.places import Places
from vault_ticket_plugin.refresh import grant_document, leased_path
from vault_ticket_plugin.refresh.carrier import InPlace, Patient
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.refresh.store_grant import StoreGrant
from vault_ticket_plugin.refresh.transaction import Transaction
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress, Profile

PROFILE = Profile.standard("support")._replace(client_id=CLIENT, token_url="https://api.test/token")
# Our notes in a grant that nobody is at work on.
ALWAYS_NOTED = {"format", "seeded_at", "seeded_version", "token"}
ADDRESS = GrantAddress("0123456789abcdef", "d0c0d0c0d0c0d0c0", "https://vault.test")


SEALED = VaultUnreachable("Vault at https://vault.test is sealed", "Unseal it, then try again.")


class World:
    """One profile, spent and published by any number of processes on any number of hosts."""

    def __init__(self, folder: Path, profile: Profile = PROFILE) -> None:
        self.folder = folder
        self.profile = profile
        self.time = Time()
        self.vault = FakeVault(self.time)
        self.server = FakeAuthServer(self.time)
        self.hosts: dict[str, FakeHost] = {}

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()

    def host(self, name: str = "web-1", skew: float = 0.0) -> FakeHost:
        if name not in self.hosts:
            self.hosts[name] = FakeHost(self, name, skew)
        return self.hosts[name]

    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    # -- what is in Vault

    def seed(self, token: str | None = None, **more: Any) -> str:
        """A person writes the grant anew, by hand; the refresh token."""
        token = token or self.server.issue()
        self.vault.write(self.profile.grant, {"refresh_token": token, **more})
        return token

    def edit(self, **changes: Any) -> None:
        """A person's `bao kv patch` of the grant."""
        self.vault.write(self.profile.grant, self.document() | changes)

    def note(self, **notes: Any) -> None:
        """Writes these notes into the grant, as a holder does."""
        noted = grant_document.with_notes(self.grant(), Notes(**notes))
        self.vault.write(self.profile.grant, noted.document)

    def document(self) -> dict[str, Any]:
        return dict(self.vault.read(self.profile.grant).data or {})

    def notes(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document().get(grant_document.NOTES_KEY, {})
        return found

    def grant(self) -> Grant:
        return grant_document.parse(self.vault.read(self.profile.grant), self.profile.grant, self.profile.name)

    @property
    def token(self) -> str:
        """The refresh token in the grant."""
        return str(self.document()["refresh_token"])

    def put_ticket(self, left: float, lifetime: float = 3600.0, token: str = "an-older-ticket") -> None:
        """A ticket on the leased path that has so many seconds left."""
        ends = self.time.now + left
        data = {
            "access_token": token,
            "token_type": "Bearer",
            "issued_at": to_rfc3339(ends - lifetime),
            "expires_at": to_rfc3339(ends),
        }
        self.vault.write(self.profile.ticket, data)

    def published(self) -> str | None:
        """The access token on the leased path."""
        data = self.vault.read(self.profile.ticket).data
        return None if data is None else str(data["access_token"])


class FakeHost:
    """A clock of its own, and real folders: `runtime` in memory, `state` on disk, as far as a test can tell."""

    def __init__(self, world: World, name: str, skew: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.clock = SimClock(world.time, skew)
        self.state = world.folder / name / "state"
        self.runtime = Folder(str(world.folder / name / "run"))
        self.places = Places(
            runtime=(self.runtime.path,),
            state=(str(self.state),),
            fixed=(self.runtime.path, str(self.state)),
            signposts=str(self.state),
        )
        self.journal = Journal(self.runtime, lambda: self.places)
        self.processes = 0

    def close(self) -> None:
        self.runtime.close()

    def process(self, profile: Profile | None = None, address: GrantAddress = ADDRESS) -> FakeProcess:
        self.processes += 1
        return FakeProcess(self, profile or self.world.profile, f"{self.name} (pid {self.processes})", address)

    def waiting(self) -> list[Entry]:
        """What is in this host's journal."""
        return [found.entry for found in self.journal.look() if found.entry is not None]

    def forget(self) -> None:
        """Removes tickets and failures that are remembered here."""
        self.process().cache.forget()


class FakeProcess:
    """What wiring.py would build for one command, over the fakes."""

    def __init__(self, host: FakeHost, profile: Profile, holder: str, address: GrantAddress) -> None:
        self.host = host
        self.profile = profile
        self.store = host.world.vault.session(host.clock)
        self.endpoint = FakeEndpoint(host.world.server)
        self.cache = Cache(host.runtime, profile.name, "identity", "stamp", "signature", host.clock)
        self.watches = FileWatches(host.runtime, f"{address.key}.watch")
        self.transaction = Transaction(
            profile, self.store, self.endpoint, host.journal, self.watches, holder, address, host.clock
        )
        self.issuer = Issuer(
            profile=profile,
            connect=lambda: self.store,
            transact=lambda: self.transaction,
            carrier=InPlace,
            cache=self.cache,
            lock=HostLock(host.runtime, f"{address.key}.lock"),
            journal=host.journal,
            clock=host.clock,
        )
        self.storing = StoreGrant(
            profile, self.store, self.endpoint, host.journal, address, host.clock, self.cache.forget
        )

    @property
    def holder(self) -> str:
        return self.transaction.holder

    def deadline(self, seconds: float = 20.0) -> Deadline:
        return Deadline.after(seconds, self.host.clock)

    def get(self, min_ttl: float = 0.0, force: bool = False, timeout: float = 20.0) -> str:
        """The access token, as `get` prints it."""
        return self.ticket(min_ttl, force, timeout).access_token.reveal()

    def ticket(self, min_ttl: float = 0.0, force: bool = False, timeout: float = 20.0) -> Ticket:
        return self.issuer.ticket(Demand(min_ttl, force), self.deadline(timeout)).ticket

    def lose_vault(self, seconds: float = 1.0) -> None:
        """From now on every call to Vault takes so long, and fails."""

        def gone(call: str, path: str) -> None:  # noqa: ARG001
            self.host.clock.sleep(seconds)
            raise SEALED

        self.store.before = gone

    def refresh(self, patient: bool = True, demand: Demand | None = None, timeout: float = 20.0) -> str:
        """The refresh transaction alone, after one look at the leased path."""
        deadline = self.deadline(timeout)
        seen = leased_path.look(self.store, self.profile, deadline)
        live = self.transaction.refresh(seen, demand or Demand(), deadline, patient, Patient())
        return live.ticket.access_token.reveal()

    def store_token(self, token: str, verify: bool = True) -> Ticket | None:
        """As `vault-ticket store`."""
        return self.storing.store_token(Secret(token), ClientIdentity(CLIENT), verify, self.deadline(), Patient())
