"""What each role may do in Vault: the rules of its policy, and their HCL. policies/*.hcl are what this prints.

A role is what a token is for: the refresher is the helper itself, the operator the person who stores the refresh
token, the reader whoever only needs a valid access token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault import paths

Role = Literal["refresher", "reader", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)

# In a policy's path `+` stands for any one part: this profile stands for all that are at the default paths.
ANY_PROFILE = "+"
# What means something else than itself in a policy's path.
PATTERNS = ("*", "{{", "}}")

_WHO: dict[Role, str] = {
    "refresher": "The helper itself: spends the grant and publishes the ticket. "
    "The one identity that may read a refresh token.",
    "reader": "Whoever only needs a valid access token: an agent's template, a CI job, a person.",
    "operator": "The person who runs `vault-ticket store`. May put a refresh token there, and never read one back.",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A path and what may be done there."""

    path: str
    capabilities: tuple[str, ...]
    why: str = ""
    """Printed in the policy."""


# Observed: 806 logins in 10 s by OpenBao 2.7.2's agent, with tokens of 4 s and without this.
_RENEW = Rule(paths.RENEW_SELF, ("update",), "An agent renews its token, and logs in far too often where it may not.")
_WRAP = Rule(paths.WRAP, ("update",), "`vault-ticket get --wrap`: hand a ticket over by a token that works once.")


def rules(role: Role, profile: Profile) -> tuple[Rule, ...]:
    """What the role needs for this profile, and nothing more."""
    make = {"refresher": _refresher, "reader": _reader, "operator": _operator}
    return make[role](profile.grant, profile.ticket)


def hcl(role: Role, profile: Profile) -> str:
    """The policy as Vault takes it. ConfigError if a path of the profile would match more than itself there."""
    for where in (profile.grant, profile.ticket):
        _check(profile, where)
    blocks = [f"# {_WHO[role]}\n# {_whose(profile)}\n"]
    for rule in rules(role, profile):
        capabilities = ", ".join(json.dumps(one) for one in rule.capabilities)
        comment = f"# {rule.why}\n" if rule.why else ""
        blocks.append(f"{comment}path {_quoted(rule.path)} {{\n  capabilities = [{capabilities}]\n}}\n")
    return "\n".join(blocks)


def name_for(role: Role, profile: Profile) -> str:
    """What the policy is called: `ticket-refresher` for all profiles, `ticket-refresher-support` for one.

    In lower case, as Vault keeps it: newer versions lower a name before they look for it, older ones after.
    """
    return f"ticket-{role}" if profile.name == ANY_PROFILE else f"ticket-{role}-{profile.name.lower()}"


def _refresher(grant: Location, ticket: Location) -> tuple[Rule, ...]:
    return (
        Rule(
            paths.data(grant),
            ("read", "update"),
            "The grant: read it, and write it under check-and-set (claim, save, release). It is never created here.",
        ),
        Rule(
            paths.metadata(grant),
            ("patch", "read"),
            "Note beside it which refresh token was spent, so that `vault-ticket store` refuses that one.",
        ),
        *_leased(ticket),
        Rule(
            paths.LOOKUP_SELF,
            ("read",),
            "What a token may know of itself: the heartbeat of an agent's template (`vault-ticket agent-config`) …",
        ),
        Rule(paths.CAPABILITIES_SELF, ("update",), "… and its rights, for `vault-ticket doctor`."),
        Rule(paths.REVOKE_SELF, ("update",), "Give back the token of a one-shot login."),
        _RENEW,
        _WRAP,
    )


def _leased(ticket: Location) -> tuple[Rule, ...]:
    if ticket.kv_version == 1:
        why = "The leased path: publish the ticket, and withdraw it (`vault-ticket revoke`)."
        return (Rule(paths.data(ticket), ("create", "read", "update", "delete"), why),)
    return (
        Rule(paths.data(ticket), ("create", "read", "update"), "The leased path: publish the ticket."),
        Rule(
            paths.metadata(ticket),
            ("create", "read", "update"),
            "… let each version expire with its ticket (delete_version_after), and see that it does.",
        ),
        Rule(paths.destroy(ticket), ("update",), "`vault-ticket revoke`."),
    )


def _reader(_grant: Location, ticket: Location) -> tuple[Rule, ...]:
    return Rule(paths.data(ticket), ("read",)), _RENEW, _WRAP


def _operator(grant: Location, ticket: Location) -> tuple[Rule, ...]:
    why = "The ticket that proved the refresh token is published at once, so that a dead one does not stay."
    publish = [Rule(paths.data(ticket), ("create", "read", "update"), why)]
    if ticket.kv_version == 2:
        publish.append(Rule(paths.metadata(ticket), ("create", "update")))
    return (
        Rule(paths.data(grant), ("create", "update")),
        Rule(
            paths.metadata(grant),
            ("patch", "read"),
            "The newest version's number, for check-and-set, and which refresh tokens were spent: nothing of the data.",
        ),
        *publish,
    )


def _whose(profile: Profile) -> str:
    if profile.name == ANY_PROFILE:
        return "Default paths of a KV v2 mount named `secret`; `+` stands for the profile."
    found = (f"{what} {where} (KV v{where.kv_version})" for what, where in _documents(profile))
    return f"Profile {profile.name}: {', '.join(found)}."


def _documents(profile: Profile) -> tuple[tuple[str, Location], ...]:
    return ("grant", profile.grant), ("ticket", profile.ticket)


def _check(profile: Profile, where: Location) -> None:
    text = str(where)
    if any(one in text for one in PATTERNS) or (profile.name != ANY_PROFILE and "+" in text.split("/")):
        raise ConfigError(
            f"{where} can't be named in a policy: `*`, `{{{{` or a part that is `+` would match other paths too",
            f"Choose another path in profile {profile.name}.",
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
