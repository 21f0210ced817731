"""`vault-ticket revoke`: withdraw the ticket."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.wiring import wired


@click.command(short_help="Withdraw the access token.")
@common.profile_argument
@common.logging_options
def revoke(profile: str) -> None:
    """Withdraw the access token of PROFILE from the leased path, and at the server.

    The server is asked where the profile has a revocation_url (RFC 7009). The refresh token stays in Vault, and the
    next `get` obtains a new access token with it, unless the server ends the whole grant with its access token, as
    some do.
    """
    settings, wanted = common.load_profile(profile)
    deadline = Deadline.after(settings.timeout)
    with wired(settings, os.environ) as wiring:
        wiring.issuer(wanted).replay(deadline)
        seen = leased_path.look(wiring.store, wanted.ticket, deadline)
        withdrawn = leased_path.withdraw(wiring.store, wanted.ticket, deadline)
        wiring.cache(wanted).forget()
        where = f"{wanted.ticket} in Vault at {settings.vault.shown}"
        terminal.show_note(f"Withdrawn from {where}." if withdrawn else f"There was no ticket at {where}.")
        if seen.ticket is None:
            return
        if wiring.endpoint(wanted).revoke(seen.ticket.access_token, wanted.client_id, deadline):
            terminal.show_note("Revoked at the server.")
        else:
            terminal.show_note("It stays valid at the server until it expires: no revocation_url is configured.")
