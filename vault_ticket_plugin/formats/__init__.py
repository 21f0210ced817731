"""How a ticket is printed: one small pure function for each protocol, one registry.

A format gives the text without its last newline. The plain ones are one line and need nothing but the ticket, so
the cache keeps their text and the warm path prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vault_ticket_plugin.formats.plain import as_env, as_header, as_json, as_token
from vault_ticket_plugin.model import Ticket

Format = Callable[[Ticket], str]

PLAIN: Mapping[str, Format] = {"json": as_json, "token": as_token, "header": as_header, "env": as_env}
FORMATS: Mapping[str, Format] = {**PLAIN}
