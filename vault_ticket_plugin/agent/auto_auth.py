"""Where Vault is and how to log in, as an agent's configuration says it: the `vault` and `auto_auth` blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vault_ticket_plugin.settings.vault import Auth, VaultSettings

# Between tries after a failure, by the agent itself: its own default is 5 minutes.
MAX_BACKOFF = "10s"


def vault_block(vault: VaultSettings) -> list[str]:
    if is_listener(vault):
        return [
            "# Where Vault itself is: the helper's configuration names only this agent's own listener.",
            "# vault {",
            '#   address = "https://vault.example:8200"',
            "# }",
        ]
    tls = vault.tls
    lines = ["vault {", f"  address = {quoted(vault.address)}"]
    for key, value in (
        ("ca_cert", tls.ca_file),
        ("ca_path", tls.ca_path),
        ("client_cert", tls.client_cert),
        ("client_key", tls.client_key),
        ("tls_server_name", tls.server_name),
    ):
        if value:
            lines.append(f"  {key} = {quoted(value)}")
    if not tls.verify:
        lines.append("  tls_skip_verify = true")
    return [*lines, "}"]


def auto_auth_block(vault: VaultSettings, role_id_file: str) -> list[str]:
    method, config = _method(vault.auth, role_id_file)
    inner = [
        f'method "{method}" {{',
        *([f"  mount_path = {quoted(f'auth/{vault.auth.mount}')}"] if vault.auth.mount else []),
        *([f"  namespace = {quoted(vault.namespace)}"] if vault.namespace else []),
        "  # Once Vault or the network is back, not 5 minutes later. The templates' own tries follow it, too.",
        f'  max_backoff = "{MAX_BACKOFF}"',
        "  config = {",
        *(f"    {line}" for line in config),
        "  }",
        "}",
    ]
    block = ["auto_auth {", *(f"  {line}" for line in inner), "}"]
    if method != "PLACEHOLDER":
        return block
    return [
        "# How the agent logs in. The helper's configuration has no login that an agent could use: fill this in.",
        *(f"# {line}" for line in block),
    ]


def _method(auth: Auth, role_id_file: str) -> tuple[str, list[str]]:
    """The agent's name of the login, and the lines of its config."""
    if auth.method == "approle":
        lines = [
            "# Agents read the role id, which is no secret, from a file.",
            f"role_id_file_path = {quoted(role_id_file)}",
        ]
        if auth.secret_id_file:
            lines.append(f"secret_id_file_path = {quoted(auth.secret_id_file)}")
        if auth.secret_id_file and auth.wrapped:
            path = f"auth/{auth.mount}/role/ROLE/secret-id"
            lines += ["# Put the role's name for ROLE.", f"secret_id_response_wrapping_path = {quoted(path)}"]
        elif auth.secret_id_file:
            lines += [
                "# Else the agent deletes it at the first login, and after a restart there is none.",
                "remove_secret_id_file_after_reading = false",
            ]
        return "approle", lines
    if auth.method == "kubernetes":
        return "kubernetes", [f"role = {quoted(auth.role)}", f"token_path = {quoted(auth.jwt_file or '')}"]
    if auth.method == "jwt":
        return "jwt", [
            f"path = {quoted(auth.jwt_file or '')}",
            f"role = {quoted(auth.role)}",
            "remove_jwt_after_reading = false",
        ]
    if auth.method == "cert":
        return "cert", [f"name = {quoted(auth.role)}"] if auth.role else []
    if auth.method == "token" and auth.token_file:
        return "token_file", [f"token_file_path = {quoted(auth.token_file)}"]
    return "PLACEHOLDER", ["# as the method wants it"]


def is_listener(vault: VaultSettings) -> bool:
    """Whether what is configured is an agent's or a proxy's listener already."""
    return vault.auth.method == "none"


def strings(words: Iterable[str]) -> str:
    return f"[{', '.join(quoted(word) for word in words)}]"


def quoted(text: str) -> str:
    """A string as HCL and Go templates both read it."""
    return json.dumps(text, ensure_ascii=False)
