"""The formats of no protocol but our own: JSON, the bare token, a header, a line for a shell."""

from __future__ import annotations

import json
import shlex

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret

ENVIRONMENT_NAME = "TICKET_ACCESS_TOKEN"


def as_json(ticket: Ticket) -> str:
    """The shape of AWS's credential_process (`Version`, RFC 3339 `Expiration`), with an access token in it."""
    return json.dumps(
        {
            "Version": 1,
            "AccessToken": ticket.access_token.reveal(),
            "TokenType": ticket.token_type,
            "Expiration": to_rfc3339(ticket.expires_at),
        }
    )


def as_secret(secret: Secret) -> str:
    return secret.reveal()


def as_token(ticket: Ticket) -> str:
    return ticket.access_token.reveal()


def as_header(ticket: Ticket) -> str:
    """RFC 6750 section 2.1: what the Ticket API wants with every call."""
    return f"Authorization: {ticket.token_type} {ticket.access_token.reveal()}"


def as_env(ticket: Ticket) -> str:
    """For `eval "$(vault-ticket get --format env)"` in a POSIX shell."""
    return f"export {ENVIRONMENT_NAME}={shlex.quote(ticket.access_token.reveal())}"
