"""AWS SDKs and CLI: `credential_process` in a profile of ~/.aws/config.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html: JSON with `Version` 1,
`AccessKeyId`, `SecretAccessKey`, and optionally `SessionToken` and `Expiration`; without the latter it is never
asked again. A failure is a non-zero exit, with its reason on standard error.
"""

from __future__ import annotations

import json

from vault_ticket_plugin import jwt
from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket


def render(ticket: Ticket, context: FormatContext) -> str:
    """The token is the secret key and the session token both: a service of one's own takes either."""
    token = ticket.access_token.reveal()
    return json.dumps(
        {
            "Version": 1,
            "AccessKeyId": _client_id(token, context),
            "SecretAccessKey": token,
            "SessionToken": token,
            "Expiration": to_rfc3339(ticket.expires_at),
        }
    )


def _client_id(token: str, context: FormatContext) -> str:
    """The profile's, else the one that the token names. The grant has it too, but not every caller may read that."""
    found = context.profile.client_id or jwt.claims(token).get("cid")
    if isinstance(found, str) and found.isprintable() and found:
        return found
    raise ConfigError(
        f"the Client ID, which is the AccessKeyId of the aws format, is not known for profile {context.profile.name}",
        f"Set client_id under [profiles.{context.profile.name}].",
    )


FORMAT = Format(render)
