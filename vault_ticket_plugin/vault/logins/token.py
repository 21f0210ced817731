"""token: one that is there already, in the environment or in a file."""

from __future__ import annotations

import os

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault.logins.credential import one_line, read_credential
from vault_ticket_plugin.vault.session import Login, VaultSession


def log_in(_session: VaultSession, auth: Auth, _deadline: Deadline) -> Login:
    if auth.token is not None:
        return Login(one_line(auth.token.reveal(), "the Vault token in the environment"))

    path = auth.token_file or "~/.vault-token"  # if no home is known
    if auth.by_default and not os.path.exists(path):
        raise ConfigError(
            f"there is no way to log in to Vault: no VAULT_TOKEN or BAO_TOKEN, no {path}, no configured `auth`",
            "Run `vault login` (or `bao login`), or configure a login: [vault] auth = { method = … }.",
        )
    # An agent's sink, say: read again when it has changed.
    return Login(read_credential(path, "the Vault token"), renewable=True)
