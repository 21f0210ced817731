"""Terraform and OpenTofu: the `external` data source.

https://registry.terraform.io/providers/hashicorp/external/latest/docs/data-sources/external: a flat JSON object of
texts on standard output; a failure is a non-zero exit and one line on standard error.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def render(ticket: Ticket, _context: FormatContext) -> str:
    """Named as on the leased path."""
    return json.dumps(
        {
            "access_token": ticket.access_token.reveal(),
            "token_type": ticket.token_type,
            "expires_at": to_rfc3339(ticket.expires_at),
        }
    )


FORMAT = Format(render, one_line=True)
