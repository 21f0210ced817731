"""What our login brings, and what it lets us do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vault_ticket_plugin import secret_file
from vault_ticket_plugin.doctor.context import Context
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import VaultDenied
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.vault import policy

# A token that nobody renews should last until somebody has time to replace it.
LONG_ENOUGH = 24 * 3600.0
# So many findings are listed; the policy as a whole is the remedy anyway.
LISTED = 3
# What only an administrator may do anything with.
SERVER_WIDE = (
    "sys/policies/acl/vault-ticket-doctor",
    "sys/mounts/vault-ticket-doctor",
    "sys/auth/vault-ticket-doctor",
    "auth/token/create",
)
KV_PARTS = ("data", "metadata", "delete", "undelete", "destroy")


def login(context: Context) -> Finding:
    auth = context.settings.vault.auth
    if auth.method == "approle" and auth.wrapped:
        return _wrapped(context)
    token = context.token
    how = "through a listener that has its own" if auth.method == "none" else f"by {auth.method}"
    kind = "" if token is None else f", {token.get('type', 'service')}"
    return passed(f"Vault takes our token ({how}{kind})")


def _wrapped(context: Context) -> Finding:
    """It serves one login only, which is not ours to take: what is left to see is whether it still would."""
    path = context.settings.vault.auth.secret_id_file or ""
    wrapping = secret_file.read(path)
    if wrapping is None:
        return failed(f"{path} is not there", "Put a response-wrapped secret id there.")
    answer = context.wiring.session.call(
        "POST", "sys/wrapping/lookup", context.until(), {"token": wrapping.reveal()}, anonymous=True
    )
    if answer.status != 200:
        hint = "It was used already or has expired. If you did not use it, somebody else did: revoke the secret id."
        return failed(f"the wrapped secret id in {path} is no longer good", hint, VaultDenied.exit_code)
    told = f"the wrapped secret id in {path} is good for one login, which is not used up here"
    return replace(skipped(told), blocks=True)


def token_life(context: Context) -> Finding:
    """A login brings a new token at each call: that one must only last for a call."""
    token, auth = context.token, context.settings.vault.auth
    if token is None:
        if context.role == "refresher":
            hint = _policy_hint(context)
            return failed(f"our token may not ask about itself ({policy.LOOKUP_SELF})", hint, VaultDenied.exit_code)
        return skipped(f"our token may not ask about itself ({policy.LOOKUP_SELF})")
    if "root" in (token.get("policies") or ()):
        hint = "Use a login of the helper's own: `vault-ticket setup`."
        return warned("it is a root token, which may do anything and never ends", hint)
    if token.get("num_uses"):
        hint = "Use a token or a role without token_num_uses: a call takes up to ten uses."
        return warned(f"it has {token['num_uses']} uses left", hint)
    left = float(token.get("ttl") or 0)
    if left == 0:
        return passed("it does not end")
    told = f"it ends in {show_duration(left)}"
    if auth.method != "token":
        least = context.profile.claim_time
        if left < least:
            return failed(f"{told}, and a refresh can take {show_duration(least)}", "Raise token_ttl of the role.")
        return passed(f"{told}; each call logs in anew")
    if auth.token is None:
        return passed(f"{told}; it is read from {auth.token_file} anew when it has changed")
    if left < LONG_ENOUGH and context.role == "refresher":
        return warned(f"{told}, and nothing renews it", "For more than a try configure a login: [vault] auth.")
    return passed(told)


def mounts(context: Context) -> Finding:
    profile = context.profile
    used = [profile.ticket] if context.role == "reader" else [profile.grant, profile.ticket]
    for where in used:
        context.wiring.store.check_mount(where, context.until())
    told = {f"{where.mount}/ is KV v{where.kv_version}" for where in used}
    return passed(", ".join(sorted(told)))


def rights(context: Context) -> Finding:
    """What the role needs and our token lacks."""
    rules = {rule.path: frozenset(rule.capabilities) for rule in policy.rules(context.role, context.profile)}
    found = context.capabilities(list(rules))
    if found is None:
        told = f"our token may not ask for its rights ({policy.CAPABILITIES_SELF})"
        if context.role == "refresher":
            return failed(told, _policy_hint(context), VaultDenied.exit_code)
        return skipped(f"{told}: the server's `default` policy would let it")
    missing = {path: needed - found[path] for path, needed in rules.items() if "root" not in found[path]}
    if any(missing.values()):
        return failed(f"our token lacks {_listed(missing)}", _policy_hint(context), VaultDenied.exit_code)
    return passed(f"all that the {context.role} needs")


def excess(context: Context) -> Finding:
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
    if context.role != "refresher" and "read" in more[policy.path_of(profile.grant)]:
        return failed(f"our token may read the refresh token; {told}", hint, VaultDenied.exit_code)
    return warned(told, hint)


def _places(where: Location) -> list[str]:
    return [policy.path_of(where, part) for part in KV_PARTS] if where.kv_version == 2 else [policy.path_of(where)]


def _neighbours(*used: Location) -> Iterable[str]:
    """A document that is none of ours, beside ours and at the top of the mount."""
    for where in used:
        folder = where.path.rpartition("/")[0]
        for path in (f"{folder}/vault-ticket-doctor", "vault-ticket-doctor"):
            yield policy.path_of(Location(where.mount, path.strip("/"), where.kv_version))


def _listed(rights: Mapping[str, frozenset[str]]) -> str:
    found = [f"{', '.join(sorted(some))} on {path}" for path, some in rights.items() if some]
    more = len(found) - LISTED
    return "; ".join(found[:LISTED]) + (f"; and {more} more" if more > 0 else "")


def _policy_hint(context: Context) -> str:
    role, name, namespace = context.role, context.profile.name, context.settings.vault.namespace
    where = f", in namespace {namespace}" if namespace else ""
    return f"Its policy should be what `vault-ticket policy {role} {name}` prints{where} (`vault-ticket setup {name}`)."
