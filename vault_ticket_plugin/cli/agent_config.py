"""`vault-ticket agent-config`: print a configuration for Vault Agent or OpenBao Agent."""

from __future__ import annotations

import shlex
from typing import Any

import click

from vault_ticket_plugin.agent.config import MODES, SERVERS, Plan, agent_config_text
from vault_ticket_plugin.cli import common, terminal

DEFAULTS = Plan()


@click.command("agent-config", short_help="Print a configuration for Vault Agent or OpenBao Agent.")
@common.profile_argument
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default=DEFAULTS.mode,
    show_default=True,
    help="plugin: a file with the token, by this helper; secret: the same from the leased path, which something else "
    "keeps fresh; env: a file for a service manager or a container; exec: a child with the token in its environment.",
)
@click.option(
    "--server",
    type=click.Choice(SERVERS),
    default=DEFAULTS.server,
    show_default=True,
    help="Whose agent it is.",
)
@click.option(
    "--listen",
    default=DEFAULTS.listen,
    show_default=True,
    help="Where the agent listens for the helper: unix:///PATH or HOST:PORT.",
)
@click.option("--destination", default="", help="The rendered file (default: below /run/vault-ticket-agent).")
@click.option("--command", default="", help="Run after each change of the file; in exec mode, the child.")
@click.option(
    "--role-id-file",
    default=DEFAULTS.role_id_file,
    show_default=True,
    help="With an AppRole login: agents take the role id from a file.",
)
@common.logging_options
def agent_config(profile: str, command: str, **more: Any) -> None:
    """Print a complete, commented agent configuration for PROFILE.

    The agent's address and login are those of [vault] in the configuration. docs/agent.md says which mode is for what.

    \b
      vault-ticket agent-config support >/etc/openbao/ticket-agent.hcl
      vault-ticket agent-config support --mode exec --command "my-service --serve"
    """
    settings, wanted = common.load_profile(profile)
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise click.BadParameter(f"--command: {error}") from None
    terminal.show_credential(agent_config_text(settings, wanted, Plan(command=words, **more)))
