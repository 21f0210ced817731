"""What a format is made of. Its functions are pure: text in, text out, without the last newline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.settings.records import Profile


@dataclass(frozen=True, slots=True)
class Context:
    """What some protocols need beside the ticket. `question`: what the caller wrote to our standard input."""

    profile: Profile
    environ: Mapping[str, str] = field(repr=False)
    question: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """A line that belongs into a file which the caller has named."""

    path: str
    line: str = field(repr=False)


def _wants_a_ticket(_context: Context) -> str | None:
    return None


class Format(NamedTuple):
    """`show`: what standard output gets.

    `early`: asked before anything else is done: an answer that needs no ticket, an error of ours where the question
    can't be answered, or None. `asks`: the question is on standard input. `appended`: what goes to a file, after
    standard output. `fail`: a failure as standard output gets it, with exit 0; without it failures go to standard
    error, with `one_line` in a single line. `quiet`: no warning goes there either.
    """

    show: Callable[[Ticket, Context], str]
    early: Callable[[Context], str | None] = _wants_a_ticket
    asks: bool = False
    appended: Callable[[Ticket, Context], Appended] | None = None
    fail: Callable[[VaultTicketError], str] | None = None
    one_line: bool = False
    quiet: bool = False
