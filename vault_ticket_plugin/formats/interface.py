"""What a format is made of. Its functions are pure: text in, text out, without the last newline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.settings.profile import Profile


class FormatContext(NamedTuple):
    """What some protocols need beside the ticket."""

    profile: Profile
    environ: Mapping[str, str] = {}
    question: str = ""
    """What the caller wrote to our standard input."""

    def __repr__(self) -> str:
        return f"FormatContext({self.profile.name!r})"


class AppendedLine(NamedTuple):
    """A line that belongs into a file which the caller has named."""

    path: str
    line: str

    def __repr__(self) -> str:
        return f"AppendedLine({self.path!r})"


def _wants_a_ticket(_context: FormatContext) -> str | None:
    return None


class Format(NamedTuple):
    """One protocol. Only `render` is needed."""

    render: Callable[[Ticket, FormatContext], str]
    """What standard output gets."""
    early: Callable[[FormatContext], str | None] = _wants_a_ticket
    """Asked before anything else is done: an answer that needs no ticket, or None. An error of ours if the question
    can't be answered."""
    asks: bool = False
    """Whether the question is on standard input."""
    appended: Callable[[Ticket, FormatContext], AppendedLine] | None = None
    """What goes to a file, after standard output."""
    fail: Callable[[VaultTicketError], str] | None = None
    """A failure as standard output gets it, with exit 0. Without it failures go to standard error."""
    one_line: bool = False
    """Whether a failure is a single line there."""
    quiet: bool = False
    """Whether no warning goes there, either."""
