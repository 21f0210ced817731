"""How a client authenticates at the token endpoint (RFC 6749 section 2.3): by its id alone, as a public client."""

from __future__ import annotations

from vault_ticket_plugin.model import ClientIdentity


def form_fields(client: ClientIdentity) -> dict[str, str]:
    """What the client puts into the form of each request (RFC 6749 section 3.2.1)."""
    return {"client_id": client.id}
