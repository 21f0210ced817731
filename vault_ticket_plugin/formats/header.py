"""header: what the Ticket API wants with every call (RFC 6750 section 2.1)."""

from __future__ import annotations

from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def render(ticket: Ticket, _context: FormatContext) -> str:
    return f"Authorization: {ticket.token_type} {ticket.access_token.reveal()}"


FORMAT = Format(render)
