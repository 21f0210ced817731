"""Whether a server has namespaces at all: one without them ignores the header that names one.

Two teams that rely on namespaces there share one grant without knowing it. Community editions of HashiCorp's Vault
answer a call under a namespace that can't exist as if it had named none; OpenBao answers 404.
"""

from __future__ import annotations

import secrets

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.messages import Ok, VaultRequest
from vault_ticket_plugin.vault.session import VaultSession


def are_ignored(session: VaultSession, deadline: Deadline) -> bool:
    """Asks anonymously, under a name that nobody has given to a namespace. Raises what the session raises."""
    nowhere = f"vault-ticket-{secrets.token_hex(8)}"
    request = VaultRequest("GET", paths.VISIBLE_MOUNTS, anonymous=True, namespace=nowhere)
    return isinstance(session.ask(request, deadline), Ok)


def exists(session: VaultSession, deadline: Deadline) -> bool:
    """Whether the configured namespace is there, on a server that has namespaces."""
    return isinstance(session.ask(VaultRequest("GET", paths.VISIBLE_MOUNTS, anonymous=True), deadline), Ok)
