"""Vault itself: seal, version, clock."""

from __future__ import annotations

import re

from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.errors import VaultUnreachable
from vault_ticket_plugin.vault import namespaces

# Below this nobody notices. Above the second a ticket's end, as Vault has it, is no longer its end here.
SKEW_NOTICED, SKEW_BAD = 5.0, 60.0
# X-Vault-Inconsistent, by which a read after our write sees that write, came with it.
OLDEST = (1, 7)


def seal(context: DoctorContext) -> Finding:
    said = context.server
    if said.get("initialized") is False:
        return failed("the server is not initialised", "`vault operator init`.", VaultUnreachable.exit_code)
    if said["sealed"]:
        return failed("the server is sealed", "Unseal it: `vault operator unseal`.", VaultUnreachable.exit_code)
    return passed("unsealed")


def version(context: DoctorContext) -> Finding:
    said = str(context.server.get("version") or "")
    if not said:
        return passed("the server keeps its version to itself")
    numbers = re.match(r"(\d+)\.(\d+)", said)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        return warned(f"{said} is older than what vault-ticket is made for", "Upgrade to 1.7 or newer.")
    return passed(said)


def namespace(context: DoctorContext) -> Finding:
    """Whether the server heeds it. One that does not shares one grant among all that rely on it."""
    vault = context.settings.vault
    if not vault.namespace:
        return skipped("no namespace is configured")
    session = context.wiring.session
    if namespaces.are_ignored(session, context.deadline()):
        return failed(
            f"Vault at {vault.shown} ignores namespaces: what should be in {vault.namespace} is in its root",
            "Take `namespace` (VAULT_NAMESPACE) out, and give each team's profiles a mount or paths of its own; or "
            "name a server that has namespaces.",
        )
    if not namespaces.exists(session, context.deadline()):
        hint = "Correct VAULT_NAMESPACE or `namespace` under [vault]."
        return failed(f"Vault at {vault.shown} has no namespace {vault.namespace}", hint)
    return passed(f"Vault has {vault.namespace}")


def clock(context: DoctorContext) -> Finding:
    """This host's clock against Vault's Date, which has whole seconds: half a second stands for the rest of one."""
    context.server  # noqa: B018 - an answer of now tells Vault's time
    now = context.wiring.session.now()
    skew = context.wiring.clock.wall() - (now.earliest + now.latest) / 2
    return judge_skew(skew, "this host's clock", "Vault's", "Set this host's clock (NTP), or Vault's.")


def judge_skew(skew: float, whose: str, other: str, hint: str) -> Finding:
    if abs(skew) <= SKEW_NOTICED:
        return passed(f"{whose} and {other} agree")
    told = f"{whose} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {other}"
    return failed(told, hint) if abs(skew) > SKEW_BAD else warned(told, hint)
