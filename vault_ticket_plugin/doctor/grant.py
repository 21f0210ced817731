"""The grant, and check-and-set. Nothing is changed."""

from __future__ import annotations

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped
from vault_ticket_plugin.errors import CasMismatch
from vault_ticket_plugin.refresh import grant_document
from vault_ticket_plugin.refresh.notes import latch, latched, raise_known_failure

# A version that no document gets to: a write that names it must be refused.
FAR_AHEAD = 1_000_000
# How a server writes that versions are not deleted by themselves.
UNLIMITED = ("0s", "0", "-1s")


def grant(context: DoctorContext) -> Finding:
    profile, store = context.profile, context.wiring.store
    if context.role == "reader":
        return skipped("a reader does not see the grant")

    if context.role == "operator":
        version = store.current_version(profile.grant, context.deadline())
        deletion = _deletion(context)
        if deletion is not None:
            return deletion
        if version:
            return passed(f"{profile.grant} is at version {version}")
        return passed(f"none is stored yet: `vault-ticket store {profile.name}`")

    found = grant_document.parse(context.grant, profile.grant, profile.name)
    deletion = _deletion(context)
    if deletion is not None:
        return deletion
    rejection = latch(found, profile)
    if rejection is not None:
        raise latched(rejection, found, profile)
    raise_known_failure(found, profile, store.now(), patient=True)
    if grant_document.client_of(profile, found) is None:
        hint = "Put client_id into the profile, or store it with the grant: `vault-ticket store` asks for it."
        return failed("there is no Client ID, neither in the profile nor with the grant", hint)

    last = (
        f", last refreshed at {to_rfc3339(found.notes.refreshed.at)}"
        if found.notes.refreshed
        else ", not refreshed yet"
    )
    return passed(f"{profile.grant} is at version {found.version}{last}")


def _deletion(context: DoctorContext) -> Finding | None:
    """A version that ends takes the refresh token with it, however often it was rotated."""
    where = context.profile.grant
    metadata = context.grant_metadata
    newest = (metadata.get("versions") or {}).get(str(metadata.get("current_version"))) or {}
    ends = newest.get("deletion_time") or ""
    if context.role == "refresher" and not ends and context.grant.deletes_at is not None:
        ends = to_rfc3339(context.grant.deletes_at)

    own = metadata.get("delete_version_after") or "0s"
    if own not in UNLIMITED:
        return failed(
            f"Vault deletes each version of the grant {own} after it was written (delete_version_after)",
            f"`vault kv metadata put -delete-version-after=0s -mount={where.mount} {where.path}`; the next refresh "
            "then writes a version that stays.",
        )
    if ends:
        return failed(
            f"Vault deletes the grant at {ends}: the mount {where.mount}/ has a delete_version_after",
            f"`vault write {where.mount}/config delete_version_after=0s`, or give the grant a mount of its own; the "
            "next refresh then writes a version that stays.",
        )
    return None


def check_and_set(context: DoctorContext) -> Finding:
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
        context.wiring.store.write(where, document.data or {}, document.version + FAR_AHEAD, context.deadline())
    except CasMismatch:
        return passed(f"a write to {where} that names another version is refused")
    return failed(
        f"{where} took a write that named a version which is not there: check-and-set does not work",
        "Something between us and Vault drops `options.cas`. Do not refresh from here until it is gone.",
    )
