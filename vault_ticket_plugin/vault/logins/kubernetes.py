"""Kubernetes: a pod's service account. https://openbao.org/api-docs/auth/kubernetes/"""

from __future__ import annotations

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault.logins.by_hvac import log_in_by_hvac
from vault_ticket_plugin.vault.logins.credential import read_credential
from vault_ticket_plugin.vault.session import Login, VaultSession


def log_in(session: VaultSession, auth: Auth, deadline: Deadline) -> Login:
    jwt = read_credential(auth.jwt_file or "", "the JWT").reveal()
    return log_in_by_hvac(
        session,
        auth,
        deadline,
        "role, jwt_file",
        lambda client: client.auth.kubernetes.login(auth.role, jwt, use_token=False, mount_point=auth.mount),
    )
