"""What a configuration for an agent or a proxy is made for, and what does not go together."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Literal, get_args

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Auth

Mode = Literal["plugin", "secret", "env", "exec", "proxy"]
MODES: tuple[Mode, ...] = get_args(Mode)
Program = Literal["bao", "vault"]
PROGRAMS: tuple[Program, ...] = get_args(Program)

# Each has a folder of its own: systemd removes a unit's RuntimeDirectory= when the unit stops.
AGENT_FOLDER, PROXY_FOLDER = "/run/vault-ticket-agent", "/run/vault-ticket-proxy"
PROXY_SOCKET = f"unix://{PROXY_FOLDER}/proxy.sock"


@dataclass(frozen=True, slots=True)
class Plan:
    """What settings and profile leave open."""

    mode: Mode = "plugin"
    program: Program = "bao"
    """Whose agent or proxy it is, by the name of its command: OpenBao's or HashiCorp's."""
    listen: Listener | None = None
    """A proxy's listener, through which the helper reaches Vault. Without one the helper logs in by itself."""
    destination: str = ""
    """The rendered file; empty for one below AGENT_FOLDER."""
    command: tuple[str, ...] = ()
    """What runs after a change, or as exec mode's child; empty for none."""
    role_id_file: str = "/etc/vault-ticket/role_id"
    """Agents and proxies take AppRole's role id from a file only."""


def check(settings: Settings, profile: Profile, plan: Plan) -> None:
    """ConfigError if the profile can't be used this way."""
    deletes = profile.ticket.kv_version == 2 and profile.lease == "delete"
    if plan.mode == "secret" and plan.program == "bao" and deletes:
        raise ConfigError(
            "OpenBao Agent can't render a KV v2 secret whose version has a deletion time: "
            f'profile {profile.name} has lease = "delete"',
            'Set lease = "field" in the profile, or use --mode plugin. HashiCorp\'s agent can: --for vault.',
        )
    if plan.mode == "secret" and plan.listen:
        raise ConfigError(
            "in secret mode the agent calls no helper, so nothing would use a proxy's listener",
            "Leave out --listen.",
        )

    if plan.mode == "proxy" and not plan.listen:
        raise ConfigError(
            "a proxy's configuration needs the address that it listens on",
            f"Add --listen {PROXY_SOCKET}, and the same to the agent's configuration.",
        )
    if plan.mode == "proxy" and (plan.destination or plan.command):
        raise ConfigError(
            "a proxy renders no file and runs no command",
            "Leave out --destination and --command: they are the agent's.",
        )

    if plan.mode in ("plugin", "env", "exec") and settings.vault.auth.wrapped and not plan.listen:
        raise ConfigError(
            "the agent and the helper log in separately, and a wrapped secret id serves only one of them",
            f"Run a proxy (--mode proxy --listen {PROXY_SOCKET}) and add the same --listen here, "
            "or use a secret id that is not wrapped.",
        )


def shares_token(auth: Auth, plan: Plan) -> bool:
    """Whether the agent takes over the proxy's token: a wrapped secret id is good for one login, the proxy's."""
    return plan.listen is not None and auth.wrapped


def token_file(listen: Listener) -> str:
    """Where a proxy leaves its token for the agent."""
    return os.path.join(os.path.dirname(listen.path) if listen.path else PROXY_FOLDER, "token")


def shown(listen: Listener) -> str:
    """As --listen takes it, and as listeners are told a TCP address."""
    if listen.path:
        return f"unix://{listen.path}"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"


def command_line(profile: Profile, plan: Plan, mode: str = "") -> str:
    """What prints the configuration (again), or with another mode its counterpart."""
    words = ["vault-ticket", "agent-config", profile.name, "--mode", mode or plan.mode, "--for", plan.program]
    if plan.listen:
        words += ["--listen", shown(plan.listen)]
    return shlex.join(words)
