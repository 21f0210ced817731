"""What programs do, as their commands do it: get, store, revoke, a daemon's round. Each is the body of one actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.simulation.actors import Process
from tests.simulation.hosts import Daemon, Host, deadline, wired
from tests.simulation.server import CLIENT
from vault_ticket_plugin.cli.get import OVERTIME
from vault_ticket_plugin.daemon.keeper import Keeper
from vault_ticket_plugin.daemon.wiring import DaemonWiring
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import ClientIdentity, Demand, LiveTicket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.store_grant import StoreGrant
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import DEFAULT_TIMEOUT
from vault_ticket_plugin.wiring import Wiring

NOTHING_MORE = Demand()


class Handed(NamedTuple):
    """What a `get` printed, and when."""

    access_token: str
    at: float
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.access_token}{f' ({self.problem})' if self.problem else ''}"


def get(
    host: Host,
    environ: Mapping[str, str],
    profile: str,
    demand: Demand = NOTHING_MORE,
    timeout: float = DEFAULT_TIMEOUT,
    cached: bool = True,
) -> Handed:
    """`vault-ticket get`."""
    with wired(host, environ, cached) as wiring:
        patience = deadline(host, timeout, max(timeout, DEFAULT_TIMEOUT) + OVERTIME)
        return _handed(wiring.ticket(profile, demand, patience), host)


def store(host: Host, environ: Mapping[str, str], profile: str, token: str, verify: bool = True) -> str:
    """`vault-ticket store`."""
    with wired(host, environ) as wiring:
        wanted = wiring.settings.profile(profile)
        patience = deadline(host, wiring.settings.timeout)
        _save_what_waits(wiring, profile, patience)
        storing = StoreGrant(
            profile=wanted,
            store=wiring.store,
            endpoint=wiring.endpoint(wanted),
            journal=wiring.journal,
            grant_key=wiring.settings.grant_key(wanted),
            clock=wiring.clock,
        )
        try:
            storing.store_token(Secret(token), ClientIdentity(CLIENT), verify, patience)
        finally:
            wiring.cache(wanted).forget()
    return "stored"


def _save_what_waits(wiring: Wiring, profile: str, patience: object) -> None:
    try:
        wiring.issuer(wiring.settings.profile(profile)).replay(patience)  # type: ignore[arg-type]
    except VaultTicketError:
        return


def revoke(host: Host, environ: Mapping[str, str], profile: str) -> str:
    """`vault-ticket revoke`."""
    with wired(host, environ) as wiring:
        wanted = wiring.settings.profile(profile)
        patience = deadline(host, wiring.settings.timeout)
        wiring.issuer(wanted).replay(patience)
        seen = leased_path.look(wiring.store, wanted.ticket, patience)
        leased_path.withdraw(wiring.store, wanted.ticket, patience)
        wiring.cache(wanted).forget()
        if seen.ticket is not None:
            wiring.endpoint(wanted).revoke(seen.ticket.access_token, ClientIdentity(CLIENT), patience)
    return "revoked"


def begin_daemon(host: Host, environ: Mapping[str, str], process: Process) -> Daemon:
    """A daemon's keeper, whose rounds are actors of one process."""
    wiring = DaemonWiring(host.loaded(environ), environ, clock=host.clock)
    keeper = Keeper(1, host.clock, lambda _change: None)
    keeper.replace(
        {name: (profile, wiring.settings.ticket_key(profile)) for name, profile in wiring.profiles.items()}, wiring
    )

    def look_after(profile: str) -> object:
        error = keeper.look_after(profile)
        if error is not None:
            raise error
        live = keeper.usable(profile)
        return None if live is None else _handed(live, host)

    return Daemon(process, wiring.close, look_after)


def _handed(live: LiveTicket, host: Host) -> Handed:
    problem = "" if live.problem is None else type(live.problem).__name__
    return Handed(live.ticket.access_token.reveal(), host.clock.in_world(host.clock.monotonic()), problem)
