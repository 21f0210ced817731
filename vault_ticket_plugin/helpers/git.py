"""git: a credential helper.

https://git-scm.com/docs/git-credential#IOFMT: `name=value` lines in and out. From 2.46 on git announces the
capability `authtype`, and then takes any scheme of the Authorization header; older ones only know a user name and a
password, in a Basic header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.settings.profile import Profile

AUTHTYPE = "authtype"
# Servers that take a token as the password ignore the name, or want this one. One that is configured in git for the
# host (credential.<url>.username) comes with the question, and goes back.
USERNAME = "oauth2"
# https://git-scm.com/docs/git-credential#CAPA-IOFMT
CAPABILITIES = f"version 0\ncapability {AUTHTYPE}"


@dataclass(frozen=True, slots=True)
class Question:
    attributes: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()


def question(text: str) -> Question:
    """Lines up to the first empty one. Of a name that is repeated the last value counts."""
    attributes: dict[str, str] = {}
    capabilities: set[str] = set()
    for line in text.split("\n"):
        if not line:
            break
        name, _, value = line.partition("=")
        if name == "capability[]":
            capabilities.add(value)
        else:
            attributes[name] = value
    return Question(attributes, frozenset(capabilities))


def is_ours(asked: Question, profile: Profile) -> bool:
    return profile.serves(asked.attributes.get("host", ""), asked.attributes.get("protocol", ""))


def answer(ticket: Ticket, asked: Question) -> str:
    """`ephemeral`: no other helper shall store it, since it is had anew from here."""
    token, expiry = ticket.access_token.reveal(), f"password_expiry_utc={int(ticket.expires_at)}"
    if AUTHTYPE in asked.capabilities:
        lines = [f"capability[]={AUTHTYPE}", f"authtype={ticket.token_type}", f"credential={token}", "ephemeral=1"]
    else:
        lines = [f"username={asked.attributes.get('username') or USERNAME}", f"password={token}"]
    return "\n".join([*lines, expiry])
