"""AppRole: a role id and, unless the role needs none, a secret id. https://openbao.org/api-docs/auth/approle/"""

from __future__ import annotations

import threading
from typing import NamedTuple

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import VaultDenied
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.logins.by_hvac import log_in_by_hvac
from vault_ticket_plugin.vault.logins.credential import read_credential
from vault_ticket_plugin.vault.messages import Ok, VaultRequest
from vault_ticket_plugin.vault.session import Login, VaultSession


class Unwrapped(NamedTuple):
    """A wrapping token works once; what it brought lasts as long as the process."""

    wrapping_token: Secret
    secret_id: Secret


# What this process has unwrapped, by the file of the wrapping token that was used up for it. A daemon logs in again and
# again, and after a reload by another session.
_unwrapped: dict[str, Unwrapped] = {}
_unwrapping = threading.Lock()


def log_in(session: VaultSession, auth: Auth, deadline: Deadline) -> Login:
    secret_id = _secret_id(session, auth, deadline)
    shown = None if secret_id is None else secret_id.reveal()
    return log_in_by_hvac(
        session,
        auth,
        deadline,
        "role_id, secret_id_file",
        lambda client: client.auth.approle.login(auth.role_id, shown, use_token=False, mount_point=auth.mount),
    )


def _secret_id(session: VaultSession, auth: Auth, deadline: Deadline) -> Secret | None:
    if auth.secret_id_file is None:
        return None  # a role with bind_secret_id=false
    found = read_credential(auth.secret_id_file, "the secret id")
    if not auth.wrapped:
        return found

    with _unwrapping:
        kept = _unwrapped.get(auth.secret_id_file)
        if kept is None or kept.wrapping_token != found:
            kept = Unwrapped(found, _unwrap(session, auth, found, deadline))
            _unwrapped[auth.secret_id_file] = kept
        return kept.secret_id


def _unwrap(session: VaultSession, auth: Auth, found: Secret, deadline: Deadline) -> Secret:
    response = session.ask(VaultRequest("POST", paths.UNWRAP, token=found), deadline)
    if isinstance(response, BadToken | Denied):
        raise _used(auth, "permission denied")
    secret_id = response.data.get("secret_id")
    if not isinstance(response, Ok) or not isinstance(secret_id, str):
        raise _used(auth, response.errors or "it holds none")
    return Secret(secret_id)


def _used(auth: Auth, reason: str) -> VaultDenied:
    return VaultDenied(
        f"the wrapped secret id in {auth.secret_id_file} can't be unwrapped: {reason}",
        "It was used already or has expired. If you did not use it, somebody else did: revoke the secret id.",
    )
