"""token: the bare token, and nothing around it."""

from __future__ import annotations

from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret


def text_of(token: Secret) -> str:
    """For whoever hands a token over in a variable, a file or a line of its own."""
    return token.reveal()


def render(ticket: Ticket, _context: FormatContext) -> str:
    return text_of(ticket.access_token)


FORMAT = Format(render)
