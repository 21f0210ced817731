"""env: a line for a POSIX shell, `eval "$(vault-ticket get --format env)"`."""

from __future__ import annotations

import shlex

from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket

ENVIRONMENT_NAME = "TICKET_ACCESS_TOKEN"


def render(ticket: Ticket, _context: FormatContext) -> str:
    return f"export {ENVIRONMENT_NAME}={shlex.quote(ticket.access_token.reveal())}"


FORMAT = Format(render)
