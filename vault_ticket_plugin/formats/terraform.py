"""Terraform and OpenTofu: the `external` data source, and the credentials helper.

https://registry.terraform.io/providers/hashicorp/external/latest/docs/data-sources/external: a flat JSON object of
texts on standard output; a failure is a non-zero exit and one line on standard error.
https://developer.hashicorp.com/terraform/internals/credentials-helpers: `get HOST` prints `{"token": …}`, and `{}`
where there is none.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.model import Ticket


def show(ticket: Ticket) -> str:
    """Named as on the leased path."""
    return json.dumps(
        {
            "access_token": ticket.access_token.reveal(),
            "token_type": ticket.token_type,
            "expires_at": to_rfc3339(ticket.expires_at),
        }
    )


def credentials(ticket: Ticket | None) -> str:
    return json.dumps({} if ticket is None else {"token": ticket.access_token.reveal()})
