"""The login, and what it brings."""

from __future__ import annotations

from dataclasses import replace

from vault_ticket_plugin import secret_file
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import VaultDenied
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.messages import Ok, VaultRequest

# A token that nobody renews should last until somebody has time to replace it.
LONG_ENOUGH = 24 * 3600.0


def login(context: DoctorContext) -> Finding:
    auth = context.settings.vault.auth
    if auth.method == "approle" and auth.wrapped:
        return _wrapped(context)
    token = context.token
    how = "through a listener that has its own" if auth.method == "none" else f"by {auth.method}"
    kind = "" if token is None else f", {token.get('type', 'service')}"
    return passed(f"Vault takes our token ({how}{kind})")


def _wrapped(context: DoctorContext) -> Finding:
    """It serves one login only, which is not ours to take: what is left to see is whether it still would."""
    path = context.settings.vault.auth.secret_id_file or ""
    wrapping = secret_file.read(path)
    if wrapping is None:
        return failed(f"{path} is not there", "Put a response-wrapped secret id there.")
    answer = context.wiring.session.ask(
        VaultRequest("POST", paths.WRAPPING_LOOKUP, {"token": wrapping.reveal()}, anonymous=True), context.deadline()
    )
    if not isinstance(answer, Ok):
        hint = "It was used already or has expired. If you did not use it, somebody else did: revoke the secret id."
        return failed(f"the wrapped secret id in {path} is no longer good", hint, VaultDenied.exit_code)
    told = f"the wrapped secret id in {path} is good for one login, which is not used up here"
    return replace(skipped(told), blocks=True)


def token_life(context: DoctorContext) -> Finding:
    """A login brings a new token at each call: that one must only last for a call."""
    token, auth = context.token, context.settings.vault.auth
    if token is None:
        if context.role == "refresher":
            hint = context.policy_hint
            return failed(f"our token may not ask about itself ({paths.LOOKUP_SELF})", hint, VaultDenied.exit_code)
        return skipped(f"our token may not ask about itself ({paths.LOOKUP_SELF})")

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
        least = context.profile.claim_seconds
        if left < least:
            return failed(f"{told}, and a refresh can take {show_duration(least)}", "Raise token_ttl of the role.")
        return passed(f"{told}; each call logs in anew")

    if auth.token is None:
        return passed(f"{told}; it is read from {auth.token_file} anew when it has changed")
    if left < LONG_ENOUGH and context.role == "refresher":
        return warned(f"{told}, and nothing renews it", "For more than a try configure a login: [vault] auth.")
    return passed(told)
