"""Bazel: a credential helper.

https://github.com/EngFlow/credential-helper-spec: `get` reads `{"uri": …}` and prints `{"headers": {NAME: [VALUE]},
"expires": RFC 3339}`. A helper may be asked about any URI, so only the profile's hosts get the token. A failure is a
non-zero exit, with its reason on standard error.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def early(context: FormatContext) -> str | None:
    """No headers for a host that the profile doesn't name."""
    try:
        uri = urlsplit(json.loads(context.question)["uri"])
        ours = context.profile.serves(uri.netloc, uri.scheme)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(
            'standard input is no question of Bazel\'s: wanted {"uri": "https://…"}',
            "Let Bazel call it, with --credential_helper.",
        ) from None
    return None if ours else json.dumps({"headers": {}})


def render(ticket: Ticket, _context: FormatContext) -> str:
    value = f"{ticket.token_type} {ticket.access_token.reveal()}"
    return json.dumps({"headers": {"Authorization": [value]}, "expires": to_rfc3339(ticket.expires_at)})


FORMAT = Format(render, early=early, asks=True)
