"""TLS certificates: the session's own client certificate is the login. https://openbao.org/api-docs/auth/cert/"""

from __future__ import annotations

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.logins.by_hvac import log_in_by_hvac
from vault_ticket_plugin.vault.session import Login, VaultSession


def log_in(session: VaultSession, auth: Auth, deadline: Deadline) -> Login:
    # hvac's own cert.login sets up TLS, and insists; ours is the session's.
    path, body = f"/v1/{paths.login(auth.mount)}", {"name": auth.role} if auth.role else {}
    return log_in_by_hvac(
        session,
        auth,
        deadline,
        "client_cert, client_key, role",
        lambda client: client.adapter.login(path, use_token=False, json=body),
    )
