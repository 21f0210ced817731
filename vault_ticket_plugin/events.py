"""What happens to grants and tickets, told as it happens to whoever keeps an account of it: audit, metrics, hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.secret import Secret

Kind = Literal["claim", "spend", "rejection", "save", "publish", "hand-out"]


class Event(NamedTuple):
    """One thing done, or tried. Never a secret in it.

    `outcome` by kind:
      claim      taken, lost (somebody else wrote first)
      spend      answered, rejected, in-doubt, unavailable, invalid (not OAuth)
      rejection  latched, overruled (a person had stored the grant anew)
      save       saved, kept (in this host's journal), overruled
      publish    published, failed, overruled (a person had withdrawn the ticket)
      hand-out   given, failed, denied
    """

    kind: Kind
    profile: str
    outcome: str
    who: str
    """The holder, or the caller of a hand-out."""
    fingerprint: str = ""
    """Names the refresh token (claim, spend, rejection, save) or the access token; empty if there is none."""
    detail: str = ""
    """An error's code or class."""


EventSink = Callable[[Event], None]


def discard(_event: Event) -> None:
    """Nobody listens: what a command does is seen in its answer."""


def token_event(
    kind: Kind, profile: str, outcome: str, who: str, token: Secret, error: VaultTicketError | None = None
) -> Event:
    return Event(kind, profile, outcome, who, token.fingerprint(), "" if error is None else error.name)
