"""A whole configuration for Vault Proxy or OpenBao Proxy: a listener that lends the helper its own login."""

from __future__ import annotations

import os
import shlex

from vault_ticket_plugin.agent.auto_auth import auto_auth_block, quoted, vault_block
from vault_ticket_plugin.agent.plan import Plan, command_line, shown
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile


def proxy_blocks(settings: Settings, profile: Profile, plan: Plan, listen: Listener) -> list[list[str]]:
    return [
        _head(profile, plan),
        vault_block(settings.vault),
        auto_auth_block(settings.vault, plan),
        [
            "# This is the proxy's own, and stays: it is the agent's api_proxy that goes.",
            "api_proxy {",
            "  use_auto_auth_token = true",
            "}",
        ],
        _listener(listen),
    ]


def _head(profile: Profile, plan: Plan) -> list[str]:
    return [
        f"# Profile {profile.name}: a way to Vault for the helper, which then needs no login of its own.",
        f"# Made by `{command_line(profile, plan)}`.",
        f"# Run: {plan.program} proxy -config=THIS_FILE",
        "# It belongs to an agent of the same user, printed by this, or with --mode env or exec:",
        f"# `{command_line(profile, plan, 'plugin')}`",
        "# The role in Vault needs policies/ticket-refresher.hcl and nothing else.",
        "# It has no cache block: the grant has to come from Vault itself each time, never from a cache.",
    ]


def _listener(listen: Listener) -> list[str]:
    folder = os.path.dirname(listen.path)
    guard = (
        [
            "# Only the proxy's own user (and root) can connect: the socket is made 0755, and connecting needs `w`.",
            f"# Its folder must be there before, and be that user's alone: install -d -m 0700 {shlex.quote(folder)}",
        ]
        if listen.path
        else ["# Every user of this host can connect, and is served with the proxy's token: prefer a unix socket."]
    )

    return [
        *guard,
        f'listener "{"unix" if listen.path else "tcp"}" {{',
        f"  address = {quoted(listen.path or shown(listen))}",
        "  tls_disable = true",
        "  require_request_header = true",
        "}",
    ]
