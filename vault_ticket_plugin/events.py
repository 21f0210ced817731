"""What happens to grants and tickets, told as it happens to whoever keeps an account of it: audit, metrics, hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Kind = Literal["claim", "spend", "rejection", "save", "publish", "hand-out"]


class Event(NamedTuple):
    """One thing done, or tried. Never a secret in it.

    `outcome` by kind:
      claim      taken, lost (somebody else wrote first)
      spend      answered, rejected, in-doubt, unavailable, invalid (not OAuth)
      rejection  latched, overruled (a person had stored the grant anew)
      save       saved, kept (in this host's journal), overruled
      publish    published, failed
      hand-out   given, failed, denied
    `fingerprint` names the refresh token (claim, spend, rejection, save) or the access token; empty where there is
    none. `who`: the holder, or the caller of a hand-out. `detail`: an error's code or class.
    """

    kind: Kind
    profile: str
    outcome: str
    who: str
    fingerprint: str = ""
    detail: str = ""


EventSink = Callable[[Event], None]


def nobody(_event: Event) -> None:
    """Nobody listens: what a command does is seen in its answer."""
