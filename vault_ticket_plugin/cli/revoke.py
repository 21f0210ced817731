"""`vault-ticket revoke`: withdraw the ticket."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import ClientIdentity
from vault_ticket_plugin.refresh import grant_document, leased_path
from vault_ticket_plugin.refresh.grant_document import client_of
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.wiring import Wiring, wired


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
        wiring.issuer(wanted).save_what_waits(deadline)
        seen = leased_path.look(wiring.store, wanted, deadline)
        withdrawn = leased_path.withdraw(wiring.store, wanted, deadline)
        wiring.cache(wanted).forget()

        where = f"{wanted.ticket} in Vault at {settings.vault.shown}"
        terminal.show_note(f"Withdrawn from {where}." if withdrawn else f"There was no ticket at {where}.")

        if seen.ticket is None:
            return
        if wiring.endpoint(wanted).revoke(seen.ticket.access_token, _client(wiring, wanted, deadline), deadline):
            terminal.show_note("Revoked at the server.")
        else:
            terminal.show_note("It stays valid at the server until it expires: no revocation_url is configured.")


def _client(wiring: Wiring, profile: Profile, deadline: Deadline) -> ClientIdentity | None:
    """Whose token it is, as for a refresh: the profile's Client ID, else the grant's if we may read it."""
    if profile.client_id:
        return ClientIdentity(profile.client_id)
    try:
        return client_of(profile, grant_document.read(wiring.store, profile.grant, profile.name, deadline))
    except VaultTicketError:
        return None
