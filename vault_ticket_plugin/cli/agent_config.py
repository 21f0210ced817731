"""`vault-ticket agent-config`: print a configuration for an agent or a proxy, Vault's or OpenBao's."""

from __future__ import annotations

import shlex
from typing import Any

import click

from vault_ticket_plugin.agent.config import agent_config_text
from vault_ticket_plugin.agent.plan import AGENT_FOLDER, MODES, PROGRAMS, Plan
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.settings.daemon import Listener, listener

DEFAULTS = Plan()


def _address(_context: click.Context, _option: click.Parameter, given: str) -> Listener | None:
    try:
        return listener(given) if given else None
    except ValueError as error:
        raise click.BadParameter(f"it takes {error}") from None


@click.command("agent-config", short_help="Print a configuration for an agent or a proxy.")
@common.profile_argument
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default=DEFAULTS.mode,
    show_default=True,
    help="plugin: a file with the token, by this helper; secret: the same from the leased path, which something else "
    "keeps fresh; env: a file for a service manager or a container; exec: a child with the token in its environment; "
    "proxy: the listener that --listen names, for a helper without a login.",
)
@click.option(
    "--for",
    "program",
    type=click.Choice(PROGRAMS),
    default=DEFAULTS.program,
    show_default=True,
    help="Whose agent or proxy it is: OpenBao's (bao) or HashiCorp's (vault).",
)
@click.option(
    "--listen",
    default="",
    metavar="ADDRESS",
    callback=_address,
    help="A proxy's listener, unix:///PATH or HOST:PORT: the helper then reaches Vault through it, and needs no login. "
    "Give it for the agent and, with --mode proxy, for the proxy.",
)
@click.option("--destination", default="", help=f"The rendered file (default: below {AGENT_FOLDER}).")
@click.option("--command", default="", help="Run after each change of the file; in exec mode, the child.")
@click.option(
    "--role-id-file",
    default=DEFAULTS.role_id_file,
    show_default=True,
    help="With an AppRole login: agents and proxies take the role id from a file.",
)
@common.logging_options
def agent_config(profile: str, command: str, **more: Any) -> None:
    """Print a complete, commented configuration for PROFILE: an agent's, or that of a proxy beside it.

    Vault's address and the login are those of [vault] in the configuration. docs/agent.md says which mode is for what.

    \b
      vault-ticket agent-config support >/etc/openbao/ticket-agent.hcl
      vault-ticket agent-config support --mode exec --command "my-service --serve"
      vault-ticket agent-config support --mode proxy --listen unix:///run/vault-ticket-proxy/proxy.sock
    """
    settings, wanted = common.load_profile(profile)
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise click.BadParameter(f"--command: {error}") from None
    terminal.show_credential(agent_config_text(settings, wanted, Plan(command=words, **more)))
