"""Where Vault is and how to log in, as agents and proxies are told: the `vault` and `auto_auth` blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vault_ticket_plugin.agent.plan import Plan, shares_token, token_file
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.vault import Auth, VaultSettings

# Between tries after a failure, by the agent itself: its own default is 5 minutes.
MAX_BACKOFF = "10s"
# The name of a login that has to be filled in.
UNKNOWN = "PLACEHOLDER"


def vault_block(vault: VaultSettings) -> list[str]:
    if vault.auth.method == "none":
        return [
            "# Where Vault itself is: the helper's configuration names only a listener before it. Fill this in.",
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


def auto_auth_block(vault: VaultSettings, plan: Plan) -> list[str]:
    borrows = shares_token(vault.auth, plan) and plan.mode != "proxy"
    auth = _proxys_token(plan) if borrows else vault.auth
    method, config = _method(auth, plan.role_id_file)
    inner = [
        f'method "{method}" {{',
        *([f"  mount_path = {quoted(f'auth/{auth.mount}')}"] if auth.mount else []),
        *([f"  namespace = {quoted(vault.namespace)}"] if vault.namespace else []),
        "  # Once Vault or the network is back, not 5 minutes later. The templates' own tries follow it, too.",
        f'  max_backoff = "{MAX_BACKOFF}"',
        "  config = {",
        *(f"    {line}" for line in config),
        "  }",
        "}",
        *(_sink(plan.listen) if plan.listen and shares_token(auth, plan) else []),
    ]

    block = ["auto_auth {", *(f"  {line}" for line in inner), "}"]
    if borrows:
        return ["# The proxy's token: it alone can use the wrapped secret id, which is good for one login.", *block]
    if method != UNKNOWN:
        return block
    who = "proxy" if plan.mode == "proxy" else "agent"
    return [
        f"# How the {who} logs in. The helper's configuration has no login that it could use: fill this in.",
        *(f"# {line}" for line in block),
    ]


def _proxys_token(plan: Plan) -> Auth:
    return Auth("token", token_file=token_file(plan.listen) if plan.listen else None)


def _sink(listen: Listener) -> list[str]:
    return [
        "# For the agent beside it, which can't use the wrapped secret id a second time.",
        'sink "file" {',
        "  config = {",
        f"    path = {quoted(token_file(listen))}",
        "    mode = 0600",
        "  }",
        "}",
    ]


def _method(auth: Auth, role_id_file: str) -> tuple[str, list[str]]:
    """What agents and proxies call the login, and the lines of its config."""
    if auth.method == "approle":
        return "approle", _approle(auth, role_id_file)
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

    return UNKNOWN, ["# as the method wants it"]


def _approle(auth: Auth, role_id_file: str) -> list[str]:
    lines = [
        "# Agents and proxies read the role id, which is no secret, from a file.",
        f"role_id_file_path = {quoted(role_id_file)}",
    ]

    if auth.secret_id_file:
        lines.append(f"secret_id_file_path = {quoted(auth.secret_id_file)}")
    if auth.secret_id_file and auth.wrapped:
        path = f"auth/{auth.mount}/role/ROLE/secret-id"
        lines += ["# Put the role's name for ROLE.", f"secret_id_response_wrapping_path = {quoted(path)}"]
    elif auth.secret_id_file:
        lines += [
            "# Else it is deleted at the first login, and after a restart there is none.",
            "remove_secret_id_file_after_reading = false",
        ]
    return lines


def strings(words: Iterable[str]) -> str:
    return f"[{', '.join(quoted(word) for word in words)}]"


def quoted(text: str) -> str:
    """A string as HCL and Go templates both read it."""
    return json.dumps(text, ensure_ascii=False)
