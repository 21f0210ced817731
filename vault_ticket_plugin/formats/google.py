"""Google's clients: executable-sourced external account credentials.

https://google.aip.dev/auth/4117: JSON with `version` 1 and `success`; the token as `id_token`, with a token type of
OIDC; `expiration_time` in seconds since the epoch. A failure is JSON with `code` and `message`, and exit 0. Clients
were seen to merge standard error into it, so nothing may be there.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def render(ticket: Ticket, _context: FormatContext) -> str:
    return json.dumps(
        {
            "version": 1,
            "success": True,
            "token_type": "urn:ietf:params:oauth:token-type:jwt",
            "id_token": ticket.access_token.reveal(),
            "expiration_time": int(ticket.expires_at),
        }
    )


def fail(error: VaultTicketError) -> str:
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    return json.dumps({"version": 1, "success": False, "code": type(error).__name__, "message": message})


FORMAT = Format(render, fail=fail, quiet=True)
