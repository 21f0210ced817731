"""How a profile is, without a secret: what `status` shows."""

from __future__ import annotations

from typing import NamedTuple

from vault_ticket_plugin.clock import Deadline, to_rfc3339
from vault_ticket_plugin.errors import VaultDenied, VaultTicketError
from vault_ticket_plugin.issuer import AskDaemon
from vault_ticket_plugin.model import Freshness, Notes
from vault_ticket_plugin.refresh import grant_document, leased_path
from vault_ticket_plugin.refresh.notes import latch, latched, raise_known_failure
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.wiring import Wiring


class Report(NamedTuple):
    """One profile. Times are RFC 3339, spans whole seconds."""

    profile: str
    state: str = "unknown"
    """fresh, soft, hard, expired, none or unknown."""
    valid_until: str | None = None
    seconds_left: int | None = None
    lifetime: int | None = None
    """What the ticket had when it was new."""
    refreshed_at: str | None = None
    refreshed_by: str | None = None
    claimed_by: str | None = None
    problem: str | None = None
    """Why it fails, and what to do about it in …"""
    hint: str | None = None
    exit_code: int = 0
    """What a `get` would end with for that; 0 if a usable ticket is there."""


def report(wiring: Wiring, profile: Profile, deadline: Deadline) -> Report:
    """Never raises an error of ours: it is the profile's problem, and is shown as such."""
    ask_daemon = wiring.ask_daemon(profile)
    try:
        if ask_daemon is not None and not wiring.settings.vault.address:
            return _by_daemon(ask_daemon, profile, deadline)
        return _by_vault(wiring, profile, deadline)
    except VaultTicketError as error:
        return Report(profile.name, problem=error.message, hint=error.hint, exit_code=error.exit_code)


def _by_vault(wiring: Wiring, profile: Profile, deadline: Deadline) -> Report:
    waits = _replay(wiring, profile, deadline)
    seen = leased_path.look(wiring.store, profile, deadline)
    ticket, now = seen.ticket, wiring.store.now().latest
    level = Freshness.EXPIRED if ticket is None else profile.windows.freshness(ticket, now)

    notes, problem = _grant_notes(wiring, profile, level > Freshness.SOFT, deadline)
    problem = problem or waits or (seen.live.problem if seen.live else None) or wiring.cache(profile).failure()
    claim = notes.claim
    refreshed = notes.refreshed
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


def _replay(wiring: Wiring, profile: Profile, deadline: Deadline) -> VaultTicketError | None:
    """Why a refresh token that waits on this host for the profile's grant can't be saved; None if none does."""
    try:
        wiring.issuer(profile).replay(deadline)
    except VaultTicketError as error:
        return error
    return None


def waiting(wiring: Wiring) -> list[str]:
    """What waits on this host to be saved, for whatever profile and server: a line each."""
    return [found.line(wiring.clock.wall()) for found in wiring.journal.look()]


def _grant_notes(
    wiring: Wiring, profile: Profile, patient: bool, deadline: Deadline
) -> tuple[Notes, VaultTicketError | None]:
    """What the grant tells, and what is wrong with it. A reader may not see it: it is shown what it may see."""
    notes = Notes()
    try:
        document = wiring.store.read(profile.grant, deadline)
        grant = grant_document.parse(document, profile.grant, profile.name)
        notes, rejection = grant.notes, latch(grant, profile)
        if rejection is not None:  # one that may be asked about again stands until that is done
            return notes, latched(rejection, grant, profile)
        raise_known_failure(grant, profile, wiring.store.now(), patient)
    except VaultDenied:
        return Notes(), None
    except VaultTicketError as error:
        return notes, error
    return notes, None


def _by_daemon(ask_daemon: AskDaemon, profile: Profile, deadline: Deadline) -> Report:
    """What is seen without Vault: the ticket, and not who refreshed it."""
    live = ask_daemon(0.0, deadline)
    if live is None:
        return Report(profile.name)
    ticket, now = live.ticket, live.vault_time(deadline.clock.monotonic())
    return Report(
        profile=profile.name,
        state=profile.windows.freshness(ticket, now).name.lower(),
        valid_until=to_rfc3339(ticket.expires_at),
        seconds_left=max(0, int(ticket.left(now))),
        lifetime=int(ticket.lifetime),
    )
