"""The mounts that the profile uses, and what our token may do there: enough, and not too much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.errors import VaultDenied
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.vault import paths, policy

# So many findings are listed; the policy as a whole is the remedy anyway.
LISTED = 3
# What only an administrator may do anything with.
SERVER_WIDE = (
    "sys/policies/acl/vault-ticket-doctor",
    "sys/mounts/vault-ticket-doctor",
    "sys/auth/vault-ticket-doctor",
    "auth/token/create",
)


def mounts(context: DoctorContext) -> Finding:
    profile = context.profile
    used = [profile.ticket] if context.role == "reader" else [profile.grant, profile.ticket]
    for where in used:
        context.wiring.store.check_mount(where, context.deadline())
    told = {f"{where.mount}/ is KV v{where.kv_version}" for where in used}
    return passed(", ".join(sorted(told)))


def rights(context: DoctorContext) -> Finding:
    """What the role needs and our token lacks."""
    rules = {rule.path: frozenset(rule.capabilities) for rule in policy.rules(context.role, context.profile)}
    found = context.capabilities(list(rules))
    if found is None:
        told = f"our token may not ask for its rights ({paths.CAPABILITIES_SELF})"
        if context.role == "refresher":
            return failed(told, context.policy_hint, VaultDenied.exit_code)
        return skipped(f"{told}: the server's `default` policy would let it")

    missing = {path: needed - found[path] for path, needed in rules.items() if "root" not in found[path]}
    if any(missing.values()):
        return failed(f"our token lacks {_listed(missing)}", context.policy_hint, VaultDenied.exit_code)
    return passed(f"all that the {context.role} needs")


def excess(context: DoctorContext) -> Finding:
    """What our token may do and the role does not need."""
    profile = context.profile
    rules = {rule.path: frozenset(rule.capabilities) for rule in policy.rules(context.role, profile)}
    asked = dict.fromkeys(
        [*_places(profile.grant), *_places(profile.ticket), *_neighbours(profile.grant, profile.ticket), *SERVER_WIDE]
    )

    found = context.capabilities(list(asked))
    if found is None:
        return skipped("our token may not ask for its rights")
    if any("root" in one for one in found.values()):
        hint = "Use a login of the helper's own: `vault-ticket setup`."
        return warned("our token may do anything: it is a root token", hint)

    more = {path: found[path] - rules.get(path, frozenset()) - {"deny"} for path in asked}
    if not any(more.values()):
        return passed(f"nothing that the {context.role} does not need")

    told = f"our token has more than the {context.role} needs: {_listed(more)}"
    hint = f"Take away the other policies; `vault-ticket policy {context.role} {profile.name}` prints all it needs."
    if context.role != "refresher" and "read" in more[paths.data(profile.grant)]:
        return failed(f"our token may read the refresh token; {told}", hint, VaultDenied.exit_code)
    return warned(told, hint)


def _places(where: Location) -> list[str]:
    return paths.all_parts(where)


def _neighbours(*used: Location) -> Iterable[str]:
    """A document that is none of ours, beside ours and at the top of the mount."""
    for where in used:
        folder = where.path.rpartition("/")[0]
        for path in (f"{folder}/vault-ticket-doctor", "vault-ticket-doctor"):
            yield paths.data(Location(where.mount, path.strip("/"), where.kv_version))


def _listed(rights: Mapping[str, frozenset[str]]) -> str:
    found = [f"{', '.join(sorted(some))} on {path}" for path, some in rights.items() if some]
    more = len(found) - LISTED
    return "; ".join(found[:LISTED]) + (f"; and {more} more" if more > 0 else "")
