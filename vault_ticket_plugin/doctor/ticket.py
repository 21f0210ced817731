"""The ticket on the leased path: there, valid, and gone when it ends."""

from __future__ import annotations

from vault_ticket_plugin import jwt
from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.doctor.server import judge_skew
from vault_ticket_plugin.durations import parse_duration, show_duration
from vault_ticket_plugin.errors import ConfigError, GrantMissing, StoredDataInvalid, VaultDenied
from vault_ticket_plugin.model import Document, Ticket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.kv import TICKET_VERSIONS
from vault_ticket_plugin.vault.messages import VaultRequest

# What Vault's clock steps and the way to it may add to a deletion's time.
DELETION_SLACK = 3.0


def ticket(context: DoctorContext) -> Finding:
    profile, now = context.profile, context.wiring.store.now().latest
    found = _ticket_in(context)
    if found is not None and found.usable(now):
        left, level = show_duration(found.left(now)), profile.windows.freshness(found, now)
        return passed(f"valid for another {left} ({level.name.lower()})")

    if leased_path.is_foreign(context.ticket, profile):
        hint = (
            f"Give it a `ticket` path of its own in the profile, or the `grant` that publishes there ({profile.grant})."
        )
        return failed(f"the ticket at {profile.ticket} is another grant's", hint)
    if context.ticket.data is not None and found is None:
        hint = "Another program writes there: give it another path. The next refresh writes over it."
        return failed(f"what is at {profile.ticket} is no ticket", hint, StoredDataInvalid.exit_code)
    if context.role == "reader":
        hint = f"A helper must refresh it: `vault-ticket get {profile.name}` on its host."
        return failed(f"there is no valid ticket at {profile.ticket}", hint, GrantMissing.exit_code)
    return passed(f"none at {profile.ticket} now: the next `get` publishes one")


def lease(context: DoctorContext) -> Finding:
    """Whether the ticket goes when it ends, and how many versions are kept."""
    profile, document = context.profile, context.ticket
    found = _ticket_in(context)
    if profile.ticket.kv_version == 1:
        return _hinted(context, document, found)

    wrong = None if found is None else _deletion(profile, document, found)
    if wrong is not None:
        return wrong

    kept = _versions_kept(context)
    if kept is not None and profile.lease == "delete" and (kept == 0 or kept > TICKET_VERSIONS):
        return warned(
            f"{kept or 'all that the mount keeps'} versions are kept, {TICKET_VERSIONS} would do",
            f"`vault kv metadata put -max-versions={TICKET_VERSIONS} -mount={profile.ticket.mount} "
            f"{profile.ticket.path}`.",
        )

    if found is None:
        return passed("there is no ticket to judge by")
    if document.deletes_at is None:
        return passed('its version is not deleted, as lease = "field" wants')
    return passed(f"its version is deleted at {to_rfc3339(document.deletes_at)}, when it ends")


def _ticket_in(context: DoctorContext) -> Ticket | None:
    return leased_path.parse(context.ticket, context.wiring.store.now().latest, context.profile)


def _deletion(profile: Profile, document: Document, found: Ticket) -> Finding | None:
    """What is wrong with when the version is deleted; None if nothing is."""
    this, config = f"version {document.version}", f"{profile.ticket.mount}/config"

    if profile.lease == "field":
        if document.deletes_at is None:
            return None
        return warned(
            f"{this} is deleted at {to_rfc3339(document.deletes_at)}, though profile {profile.name} says "
            'lease = "field": OpenBao Agent can\'t render it',
            f"The next refresh sets it right, unless the mount has a delete_version_after (`vault read {config}`).",
        )

    # lease = "delete": the version goes with its ticket, neither later nor much earlier.
    if document.deletes_at is None or document.deletes_at > found.expires_at + DELETION_SLACK:
        return failed(
            f"{this} outlives its ticket, which ends at {to_rfc3339(found.expires_at)}",
            "Another program wrote it, or this profile when its lease was another: "
            f"`vault-ticket get {profile.name} --force`.",
        )

    early = found.expires_at - document.deletes_at
    if early > DELETION_SLACK + max(leased_path.MIN_SPAN_SLACK, found.lifetime * leased_path.SPAN_SLACK):
        return warned(
            f"{this} is deleted {show_duration(early)} before its ticket ends",
            f"The mount's own delete_version_after is shorter: see `vault read {config}`.",
        )
    return None


def ticket_clock(context: DoctorContext) -> Finding:
    """The clock that a JWT was made by against Vault's, which `issued_at` is from."""
    found = _ticket_in(context)
    if found is None:
        return skipped("there is no ticket to judge by")
    claims = jwt.claims(found.access_token.reveal())
    made = next((claims[name] for name in ("iat", "nbf") if _is_number(claims.get(name))), None)
    if made is None:
        return skipped("the ticket is no JWT that says when it was made")

    skew = float(made) - found.issued_at
    # It was made after the request began, within the time that one may take.
    skew -= min(max(0.0, skew), context.profile.request_timeout)
    return judge_skew(skew, "the token endpoint's clock", "Vault's", "Set Vault's clock (NTP), or report theirs.")


def _hinted(context: DoctorContext, document: Document, found: Ticket | None) -> Finding:
    """KV v1: `ttl` promises that the ticket is good for so long, whenever it is read."""
    if found is None:
        return passed("there is no ticket to judge by")
    most = context.profile.windows.soft_for(found.lifetime)
    try:
        ttl = parse_duration((document.data or {}).get("ttl"))
    except ValueError:
        return failed("the ticket has no `ttl`: agents read it again too late", "The next refresh sets it.")
    if ttl > most:
        return failed(
            f"its ttl of {show_duration(ttl)} promises more than the soft window of {show_duration(most)}",
            "Another program writes there. The next refresh sets it right.",
        )
    return passed(f"its ttl of {show_duration(ttl)} is within the soft window of {show_duration(most)}")


def _versions_kept(context: DoctorContext) -> int | None:
    """As the document's metadata has it; None if we may not see it, or nothing was ever there."""
    path = paths.metadata(context.profile.ticket)
    try:
        answer = context.wiring.session.send(VaultRequest("GET", path), context.deadline())
    except (VaultDenied, ConfigError):
        return None
    kept = answer.data.get("max_versions")
    return kept if isinstance(kept, int) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
