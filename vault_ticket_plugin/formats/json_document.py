"""json: the ticket as a document of our own, for programs.

The shape of AWS's credential_process (`Version`, RFC 3339 `Expiration`), with an access token in it.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def render(ticket: Ticket, _context: FormatContext) -> str:
    return json.dumps(
        {
            "Version": 1,
            "AccessToken": ticket.access_token.reveal(),
            "TokenType": ticket.token_type,
            "Expiration": to_rfc3339(ticket.expires_at),
        }
    )


FORMAT = Format(render)
