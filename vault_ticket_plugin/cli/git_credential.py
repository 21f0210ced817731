"""`vault-ticket git-credential`: git's credential helper."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.helpers import git
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.wiring import wired


@click.command("git-credential", short_help="Answer git as its credential helper.")
@common.profile_argument
@click.argument("operation")
@common.logging_options
def git_credential(profile: str, operation: str) -> None:
    """Answer git, which calls this with OPERATION (get, store, erase, capability) and its question on standard input.

    `get` gives the access token of PROFILE for the hosts that the profile names (`hosts` in the configuration), and
    says nothing for any other. There is nothing to store or to erase: Vault keeps the credential.

    \b
      git config --global credential.helper '!vault-ticket git-credential support'
    """
    asked = git.question(terminal.read_stdin())
    if operation == "capability":
        terminal.show_credential(git.CAPABILITIES + "\n")
    if operation != "get":
        return
    settings, wanted = common.load_profile(profile)
    if git.is_ours(asked, wanted):
        with wired(settings, os.environ) as wiring:
            live = wiring.ticket(wanted.name, Demand(), Deadline.after(settings.timeout))
            ticket = live.for_host(HOST_CLOCK.wall(), HOST_CLOCK.monotonic())
            terminal.show_credential(git.answer(ticket, asked) + "\n")
