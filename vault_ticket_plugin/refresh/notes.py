"""What a grant document already tells about a spend: latched, paused, in doubt. And the errors that say so."""

from __future__ import annotations

from vault_ticket_plugin.clock import Moment, to_rfc3339
from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    SpendInDoubt,
    VaultTicketError,
)
from vault_ticket_plugin.model import CLOCK_STEP, Doubt, Grant, Rejection
from vault_ticket_plugin.refresh.grant_document import client_of
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.refresh.retry import CLIENT_LATCH_SECONDS, MAX_RETRY_AFTER
from vault_ticket_plugin.settings.profile import Profile

# The code of RFC 6749 section 5.2 for a refresh token that will never be good again.
DEAD = "invalid_grant"


def raise_known_failure(grant: Grant, profile: Profile, now: Moment, patient: bool, doubt: Doubt | None = None) -> None:
    """Raise what another call, here or on another host, has already found out.

    `doubt`: what there is beside that which the document notes, as of a dead holder's claim.
    """
    rejection, not_before = latch(grant, profile), grant.notes.not_before
    if rejection is not None and not may_ask_again(rejection, now):
        raise latched(rejection, grant, profile)

    if not_before is not None and not_before > now.earliest:
        raise EndpointUnavailable(
            f"the token endpoint asked for a pause until {to_rfc3339(not_before)}",
            "It is asked again by itself then; --force asks now.",
            retry_after=not_before - now.earliest,
        )

    doubt = doubt or known_doubt(grant)
    if doubt is not None and not patient and now.latest - doubt.at >= profile.reuse_grace:
        # Past the server's grace a second use may end the whole family, the usable ticket with it.
        raise SpendInDoubt(
            f"{doubt.holder} spent the refresh token at {to_rfc3339(doubt.at)} and its answer was lost",
            "It is tried again when no usable ticket is left; --force tries now.",
        )


def latch(grant: Grant, profile: Profile) -> Rejection | None:
    """The rejection of just what would be asked now: this token, by this client, at this URL."""
    found = grant.notes.rejection
    return found if found is not None and found.fingerprint == _latch_fingerprint(grant, profile) else None


def latched(rejection: Rejection, grant: Grant, profile: Profile) -> GrantRejected | ClientRejected:
    """The latch as an error."""
    again = "not asked again"
    if rejection.code != DEAD:
        again = f"asked again at {to_rfc3339(rejection.at + CLIENT_LATCH_SECONDS)}"
    since = f" (found by {rejection.holder} at {to_rfc3339(rejection.at)}; {again})"
    return rejected(rejection.code, grant.notes.doubt, profile, since)


def may_ask_again(rejection: Rejection, now: Moment) -> bool:
    """A dead token is never asked about again. A refused client is, by whoever renews the latch's time first."""
    lately = now.earliest - CLIENT_LATCH_SECONDS < rejection.at <= now.latest + CLOCK_STEP
    return rejection.code != DEAD and not lately


def renewed_rejection(grant: Grant, profile: Profile, now: Moment) -> Rejection | None:
    """What a claim writes of the latch: whoever asks again keeps all others from asking, for as long as before."""
    found = latch(grant, profile)
    if found is None or not may_ask_again(found, now):
        return grant.notes.rejection
    return found._replace(at=now.earliest)


def known_doubt(grant: Grant) -> Doubt | None:
    """What the document says about a lost answer to the token that is in it."""
    doubt = grant.notes.doubt
    return doubt if doubt is not None and doubt.fingerprint == grant.refresh_token.fingerprint() else None


def unresolved_spend(grant: Grant) -> Doubt | None:
    """The same, where the claim that is there is over: its holder never said how its spend ended, if there was one."""
    claim, fingerprint = grant.notes.claim, grant.refresh_token.fingerprint()
    if claim is None or claim.fingerprint != fingerprint:
        return known_doubt(grant)
    return known_doubt(grant) or Doubt(fingerprint, claim.holder, claim.at or grant.created_at or 0.0)


def somebody_may_have_finished(grant: Grant, seen: LeasedVersion) -> bool:
    """Whether a ticket may have been published since we looked. `grant`: as it was before our claim.

    A holder publishes before it releases, and notes the ticket as it releases; check-and-set has just proved
    that the grant we read was the newest. So the note tells, unless the last holder never released, or the
    grant was written anew.
    """
    note = grant.notes.refreshed
    if grant.notes.claim is not None or note is None:
        return True
    return seen.ticket is None or seen.ticket.access_token.fingerprint() != note.ticket


def rejection_of(grant: Grant, profile: Profile, code: str, now: float, holder: str) -> Rejection:
    return Rejection(_latch_fingerprint(grant, profile), code, now, holder)


def retry_not_before(error: VaultTicketError, now: float) -> float | None:
    """The moment before which the server does not want to be asked again, if it said so."""
    return None if error.retry_after is None else now + min(error.retry_after, MAX_RETRY_AFTER)


def rejected(code: str, doubt: Doubt | None, profile: Profile, since: str = "") -> GrantRejected | ClientRejected:
    """The error for a permanent no (RFC 6749 section 5.2), told as precisely as is known."""
    if code != DEAD:
        return ClientRejected(
            f"the token endpoint refuses the client or the request: {code}{since}",
            f"Check client_id and token_url of profile {profile.name}: once they are right, the next call asks anew.",
            code=code,
        )

    renew = (
        f"reate a refresh token (Settings → Installation → Public API), then run `vault-ticket store {profile.name}`."
    )
    if doubt is None:
        message = f"the token endpoint says that the refresh token is not valid{since}"
        return GrantRejected(message, f"C{renew}", code=code)

    return GrantRejected(
        f"the refresh token is dead: {doubt.holder} spent it, or the one before it, at {to_rfc3339(doubt.at)} "
        f"and its answer was lost{since}",
        f"If that host still has a journal, any vault-ticket command there saves it. Otherwise c{renew}",
        code=code,
    )


def _latch_fingerprint(grant: Grant, profile: Profile) -> str:
    """Names the token in its context: the same token with a corrected client or URL is asked about again."""
    client = client_of(profile, grant)
    return grant.refresh_token.fingerprint(client.id if client else "", profile.token_url)
