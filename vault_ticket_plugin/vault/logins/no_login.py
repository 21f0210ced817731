"""none: an agent's or a proxy's listener adds a token of its own."""

from __future__ import annotations

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault.session import Login, VaultSession


def log_in(_session: VaultSession, _auth: Auth, _deadline: Deadline) -> Login:
    return Login(None)
