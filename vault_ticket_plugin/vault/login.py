"""How we come by a Vault token. hvac knows every auth method's API."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError, VaultDenied
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault.hvac_adapter import hvac_client
from vault_ticket_plugin.vault.session import Answer, Login, VaultSession

# A token, a secret id or a JWT is a few KiB at the most.
MAX_FILE_BYTES = 1 << 16


def log_in(session: VaultSession, deadline: Deadline) -> Login:
    """By the method that is configured. ConfigError or VaultDenied, and what the session raises."""
    auth = session.settings.auth
    if auth.method == "none":
        return Login(None)
    if auth.method == "token":
        if auth.token is not None:
            return Login(_one_line(auth.token.reveal(), "the Vault token in the environment"))
        return Login(_token_from_file(auth), renewable=True)  # an agent's sink: read again when it has changed
    return _through_hvac(session, auth, deadline)


def _token_from_file(auth: Auth) -> Secret:
    path = auth.token_file or ""
    if os.path.basename(path) == ".vault-token" and not os.path.exists(path):
        raise ConfigError(
            "there is no way to log in to Vault: no VAULT_TOKEN or BAO_TOKEN, no ~/.vault-token, no configured `auth`",
            "Run `vault login` (or `bao login`), or configure a login: [vault] auth = { method = … }.",
        )
    return _read_secret(path, "the Vault token")


def _through_hvac(session: VaultSession, auth: Auth, deadline: Deadline) -> Login:
    import hvac.exceptions

    def judge(answer: Answer) -> Mapping[str, Any]:
        if answer.status == 400:  # a wrong secret id, an unknown role, a claim that is not bound
            raise VaultDenied(
                f"Vault refuses the {auth.method} login at auth/{auth.mount}: {answer.errors}", _hint(auth)
            )
        if answer.status == 404 or "auth" not in answer.body:
            raise ConfigError(
                f"Vault has no {auth.method} login at auth/{auth.mount}",
                "Correct `mount` in [vault] auth, or enable the method there.",
            )
        return answer.body

    client = hvac_client(session, deadline, judge, anonymous=True)
    try:
        answer = _logins(client, session, auth, deadline)[auth.method]()
    except VaultDenied as denied:
        if denied.hint:
            raise
        message = f"Vault refuses the {auth.method} login at auth/{auth.mount}: {denied.message}"
        raise VaultDenied(message, _hint(auth)) from None
    except hvac.exceptions.VaultError as error:
        raise ConfigError(f"the {auth.method} login can't be made: {type(error).__name__}", _hint(auth)) from None
    given = answer["auth"]
    # A batch token has no lease and can't be revoked.
    return Login(Secret(given["client_token"]), renewable=True, revocable=given.get("token_type") != "batch")


def _logins(client: Any, session: VaultSession, auth: Auth, deadline: Deadline) -> dict[str, Callable[[], Any]]:
    mount = auth.mount
    return {
        "approle": lambda: client.auth.approle.login(
            auth.role_id, _reveal(_secret_id(session, auth, deadline)), use_token=False, mount_point=mount
        ),
        "kubernetes": lambda: client.auth.kubernetes.login(
            auth.role,
            _read_secret(auth.jwt_file or "", "the JWT").reveal(),
            use_token=False,
            mount_point=mount,
        ),
        "jwt": lambda: client.auth.jwt.jwt_login(
            auth.role, _read_secret(auth.jwt_file or "", "the JWT").reveal(), use_token=False, path=mount
        ),
        # hvac's own cert.login sets up TLS, and insists; ours is the session's.
        "cert": lambda: client.adapter.login(
            f"/v1/auth/{mount}/login", use_token=False, json={"name": auth.role} if auth.role else {}
        ),
    }


def _secret_id(session: VaultSession, auth: Auth, deadline: Deadline) -> Secret | None:
    if auth.secret_id_file is None:
        return None  # a role with bind_secret_id=false
    found = _read_secret(auth.secret_id_file, "the secret id")
    if not auth.wrapped:
        return found
    answer = session.call("POST", "sys/wrapping/unwrap", deadline, token=found)
    secret_id = (answer.body.get("data") or {}).get("secret_id")
    if answer.status != 200 or not isinstance(secret_id, str):
        raise VaultDenied(
            f"the wrapped secret id in {auth.secret_id_file} can't be unwrapped: {answer.errors or 'it holds none'}",
            "It was used already or has expired. If you did not use it, somebody else did: revoke the secret id.",
        )
    return Secret(secret_id)


def _read_secret(path: str, what: str) -> Secret:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is no text").lower()
        raise ConfigError(f"{what} can't be read from {path}: {reason}", "Correct the path in [vault] auth.") from None
    return _one_line(text, f"{what} in {path}")


def _one_line(text: str, what: str) -> Secret:
    """It becomes a header's value: a line break in it would begin another header."""
    if not text or not (text.isascii() and text.isprintable()):
        raise ConfigError(f"{what} is empty or no single line of plain text", "Put the right one there.")
    return Secret(text)


def _reveal(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None


def _hint(auth: Auth) -> str:
    keys = {"approle": "role_id, secret_id_file", "cert": "client_cert, client_key, role"}
    return f"Check {keys.get(auth.method, 'role, jwt_file')} and mount in the configuration, and the role in Vault."
