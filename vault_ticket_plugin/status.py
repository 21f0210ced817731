"""How a profile is, without a secret: what `status` shows."""

from __future__ import annotations

from dataclasses import dataclass

from vault_ticket_plugin.clock import Deadline, to_rfc3339
from vault_ticket_plugin.errors import VaultDenied, VaultTicketError
from vault_ticket_plugin.issuer import Ask
from vault_ticket_plugin.model import Freshness, Grant
from vault_ticket_plugin.refresh import grant_document, leased_path, notes
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Report:
    """`state`: fresh, soft, hard, expired, none or unknown. Times are RFC 3339, spans whole seconds; `lifetime` is
    what the ticket had when it was new.

    `problem` and `hint` say why it fails, `exit_code` what a `get` would end with for that; 0 where a usable ticket is
    there.
    """

    profile: str
    state: str = "unknown"
    valid_until: str | None = None
    seconds_left: int | None = None
    lifetime: int | None = None
    refreshed_at: str | None = None
    refreshed_by: str | None = None
    claimed_by: str | None = None
    problem: str | None = None
    hint: str | None = None
    exit_code: int = 0


def report(wiring: Wiring, profile: Profile, deadline: Deadline) -> Report:
    """Never raises an error of ours: it is the profile's problem, and is shown as such."""
    ask = wiring.asking(profile)
    if ask is not None and not wiring.settings.vault.address:
        return _by_daemon(ask, profile, deadline)
    try:
        wiring.issuer(profile).replay(deadline)
        seen = leased_path.look(wiring.store, profile.ticket, deadline)
        now = wiring.store.now()
    except VaultTicketError as error:
        return Report(profile.name, problem=error.message, hint=error.hint, exit_code=error.exit_code)
    problem: VaultTicketError | None = None
    grant: Grant | None = None
    try:
        document = wiring.store.read(profile.grant, deadline)
        grant = grant_document.parse(document, profile.grant, profile.name)
        notes.raise_known_failure(grant, profile, now, patient=True)
    except VaultDenied:
        grant = None  # a reader: what it may see is shown
    except VaultTicketError as error:
        problem = error
    failure = wiring.cache(profile).failure()
    if problem is None and failure is not None:
        problem = failure.error
    ticket = seen.ticket
    level = Freshness.EXPIRED if ticket is None else profile.windows.freshness(ticket, now)
    claim = grant.claim if grant is not None and grant.claim is not None and grant.claim.until >= now else None
    refreshed = grant.refreshed if grant is not None else None
    return Report(
        profile=profile.name,
        state="none" if ticket is None else level.name.lower(),
        valid_until=None if ticket is None else to_rfc3339(ticket.expires_at),
        seconds_left=None if ticket is None else max(0, int(ticket.left(now))),
        lifetime=None if ticket is None else int(ticket.lifetime),
        refreshed_at=to_rfc3339(refreshed.at) if refreshed else None,
        refreshed_by=refreshed.holder if refreshed else None,
        claimed_by=claim.holder if claim else None,
        problem=problem.message if problem else None,
        hint=problem.hint if problem else None,
        exit_code=problem.exit_code if problem and level == Freshness.EXPIRED else 0,
    )


def _by_daemon(ask: Ask, profile: Profile, deadline: Deadline) -> Report:
    """What is seen without Vault: the ticket, and not who refreshed it."""
    try:
        heard = ask(0.0, deadline)
    except VaultTicketError as error:
        return Report(profile.name, problem=error.message, hint=error.hint, exit_code=error.exit_code)
    if heard is None:
        return Report(profile.name)
    ticket, now = heard.ticket, heard.now
    return Report(
        profile=profile.name,
        state=profile.windows.freshness(ticket, now).name.lower(),
        valid_until=to_rfc3339(ticket.expires_at),
        seconds_left=max(0, int(ticket.left(now))),
        lifetime=int(ticket.lifetime),
    )
