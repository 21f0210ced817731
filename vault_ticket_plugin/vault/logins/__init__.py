"""How we come by a Vault token: one module for each way to log in, and one index.

A new one takes a module with a `log_in` like theirs, its row here, and its keys in settings/vault.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.settings.vault import AuthMethod
from vault_ticket_plugin.vault.session import Login, VaultSession

# By the method's name the module that knows it.
LOGINS: Mapping[AuthMethod, str] = {
    "approle": "approle",
    "cert": "cert",
    "jwt": "jwt",
    "kubernetes": "kubernetes",
    "none": "no_login",
    "token": "token",
}


def log_in(session: VaultSession, deadline: Deadline) -> Login:
    """By the method that is configured. ConfigError or VaultDenied, and what the session raises."""
    module = import_module(f"{__name__}.{LOGINS[session.settings.auth.method]}")
    login: Login = module.log_in(session, session.settings.auth, deadline)
    return login
