"""The two documents: the grant, the leased path, and check-and-set between them. Nothing is changed."""

from __future__ import annotations

from vault_ticket_plugin import jwt
from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.doctor.context import Context
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.doctor.server import judge_skew
from vault_ticket_plugin.durations import parse_duration, show_duration
from vault_ticket_plugin.errors import CasMismatch, ConfigError, GrantMissing, StoredDataInvalid, VaultDenied
from vault_ticket_plugin.model import Document, Ticket
from vault_ticket_plugin.refresh import grant_document as grants
from vault_ticket_plugin.refresh import leased_path as leased
from vault_ticket_plugin.refresh import notes as verdicts
from vault_ticket_plugin.settings.records import Profile
from vault_ticket_plugin.vault import policy
from vault_ticket_plugin.vault.kv import TICKET_VERSIONS

# A version that no document gets to: a write that names it must be refused.
FAR_AHEAD = 1_000_000
# What Vault's clock steps and the way to it may add to a deletion's time.
DELETION_SLACK = 3.0


def grant(context: Context) -> Finding:
    profile, store = context.profile, context.wiring.store
    if context.role == "reader":
        return skipped("a reader does not see the grant")
    if context.role == "operator":
        version = store.current_version(profile.grant, context.until())
        if version:
            return passed(f"{profile.grant} is at version {version}")
        return passed(f"none is stored yet: `vault-ticket store {profile.name}`")
    found = grants.parse(context.grant, profile.grant, profile.name)
    verdicts.refuse_what_is_known(found, profile, store.now(), patient=True)
    if not (profile.client_id or found.client_id):
        hint = "Put client_id into the profile, or store it with the grant: `vault-ticket store` asks for it."
        return failed("there is no Client ID, neither in the profile nor with the grant", hint)
    last = f", last refreshed at {to_rfc3339(found.refreshed.at)}" if found.refreshed else ", not refreshed yet"
    return passed(f"{profile.grant} is at version {found.version}{last}")


def check_and_set(context: Context) -> Finding:
    """A write that names a version far ahead must be refused.

    Were it not, it would have put there what stands there already.
    """
    profile = context.profile
    where, document = profile.grant, context.grant if context.role == "refresher" else None
    if context.role == "reader":
        return skipped("a reader does not write")
    if document is None:
        where, document = profile.ticket, context.ticket
    if where.kv_version == 1:
        return skipped("KV v1 has no check-and-set")
    try:
        context.wiring.store.write(where, document.data or {}, document.version + FAR_AHEAD, context.until())
    except CasMismatch:
        return passed(f"a write to {where} that names another version is refused")
    return failed(
        f"{where} took a write that named a version which is not there: check-and-set does not work",
        "Something between us and Vault drops `options.cas`. Do not refresh from here until it is gone.",
    )


def ticket(context: Context) -> Finding:
    profile, now = context.profile, context.wiring.store.now()
    found = leased.parse(context.ticket)
    if found is not None and found.usable(now):
        left, level = show_duration(found.left(now)), profile.windows.freshness(found, now)
        return passed(f"valid for another {left} ({level.name.lower()})")
    if context.ticket.data is not None and found is None:
        hint = "Another program writes there: give it another path. The next refresh writes over it."
        return failed(f"what is at {profile.ticket} is no ticket", hint, StoredDataInvalid.exit_code)
    if context.role == "reader":
        hint = f"A helper must refresh it: `vault-ticket get {profile.name}` on its host."
        return failed(f"there is no valid ticket at {profile.ticket}", hint, GrantMissing.exit_code)
    return passed(f"none at {profile.ticket} now: the next `get` publishes one")


def lease(context: Context) -> Finding:
    """Whether the ticket goes when it ends, and how many versions are kept."""
    profile, document = context.profile, context.ticket
    found = leased.parse(document)
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


def _deletion(profile: Profile, document: Document, found: Ticket) -> Finding | None:
    """What is wrong with when the version is deleted; None where nothing is."""
    this, config = f"version {document.version}", f"{profile.ticket.mount}/config"
    if profile.lease == "field":
        if document.deletes_at is None:
            return None
        return warned(
            f"{this} is deleted at {to_rfc3339(document.deletes_at)}, though profile {profile.name} says "
            'lease = "field": OpenBao Agent can\'t render it',
            f"The next refresh sets it right, unless the mount has a delete_version_after (`vault read {config}`).",
        )
    if document.deletes_at is None or document.deletes_at > found.expires_at + DELETION_SLACK:
        return failed(
            f"{this} outlives its ticket, which ends at {to_rfc3339(found.expires_at)}",
            "Another program wrote it, or this profile when its lease was another: "
            f"`vault-ticket get {profile.name} --force`.",
        )
    early = found.expires_at - document.deletes_at
    if early > DELETION_SLACK + max(leased.SPAN_SLACK_LEAST, found.lifetime * leased.SPAN_SLACK):
        return warned(
            f"{this} is deleted {show_duration(early)} before its ticket ends",
            f"The mount's own delete_version_after is shorter: see `vault read {config}`.",
        )
    return None


def ticket_clock(context: Context) -> Finding:
    """The clock that a JWT was made by against Vault's, which `issued_at` is from."""
    found = leased.parse(context.ticket)
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


def _hinted(context: Context, document: Document, found: Ticket | None) -> Finding:
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


def _versions_kept(context: Context) -> int | None:
    """As the document's metadata has it; None where we may not see it, or nothing was ever there."""
    path = policy.path_of(context.profile.ticket, "metadata")
    try:
        answer = context.wiring.session.call("GET", path, context.until())
    except (VaultDenied, ConfigError):
        return None
    kept = (answer.body.get("data") or {}).get("max_versions")
    return kept if isinstance(kept, int) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
