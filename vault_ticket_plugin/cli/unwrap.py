"""`vault-ticket unwrap`: the access token behind a wrapping token."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin import formats
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.warm import DEFAULT_FORMAT
from vault_ticket_plugin.wiring import wired


@click.command(short_help="Print the access token behind a wrapping token.")
@common.profile_argument
@click.option(
    "--format",
    "chosen",
    # The others read a question from standard input.
    type=click.Choice(sorted(name for name in formats.FORMATS if not formats.load(name).asks)),
    default=DEFAULT_FORMAT,
    show_default=True,
    help="As `vault-ticket get` has it.",
)
@common.logging_options
def unwrap(profile: str, chosen: str) -> None:
    """Print the access token behind what `vault-ticket get --wrap` has printed.

    The wrapping token is read from a hidden prompt or from standard input, never from an argument. It works once, and
    is all that is needed to log in to Vault. PROFILE matters to formats that print more than the token.

    \b
      vault-ticket get support --wrap 60s | ssh build@host.example vault-ticket unwrap --format token
    """
    form = formats.load(chosen)
    with terminal.report_errors_as(form):
        settings = common.load()
        # Whoever is handed a token need not have a profile for it.
        wanted = settings.profiles.get(profile) or Profile.standard(profile)
        context = FormatContext(wanted, os.environ)
        text = form.early(context)
        if text is not None:
            terminal.show_credential(text + "\n")
            return

        token = terminal.read_secret("Wrapping token (not shown)", "wrapping token")
        with wired(settings, os.environ) as wiring:
            terminal.show_ticket(wiring.unwrap(token, Deadline.after(settings.timeout)), form, context)
