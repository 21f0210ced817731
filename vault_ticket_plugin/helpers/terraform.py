"""Terraform and OpenTofu: a credentials helper.

https://developer.hashicorp.com/terraform/internals/credentials-helpers: `get HOST` prints `{"token": …}`, and `{}`
if there is none.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.model import Ticket


def credentials(ticket: Ticket | None) -> str:
    return json.dumps({} if ticket is None else {"token": ticket.access_token.reveal()})
