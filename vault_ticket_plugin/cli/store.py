"""`vault-ticket store`: put a refresh token into Vault."""

from __future__ import annotations

import os
import sys
from typing import IO

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.model import ClientIdentity
from vault_ticket_plugin.refresh.carrier import Waiter, jobs_time
from vault_ticket_plugin.refresh.store_grant import StoreGrant
from vault_ticket_plugin.wiring import wired


@click.command(short_help="Put a refresh token into Vault.")
@common.profile_argument
@click.option(
    "--file",
    "source",
    type=click.File("r"),
    help="Read the refresh token from this file (- for standard input).",
)
@click.option("--client-id", help="The Client ID it belongs to, where the profile has none. It is no secret.")
@click.option("--no-verify", is_flag=True, help="Store it unproven, without asking the Ticket API.")
@common.logging_options
def store(profile: str, source: IO[str] | None, client_id: str | None, no_verify: bool) -> None:
    """Put the refresh token of PROFILE into Vault, proven by one refresh.

    It is read from a hidden prompt, from standard input or from --file, never from an argument. Nothing that is
    stored is overwritten unless it works; if the server rotates it on the way, what it was rotated to is stored.
    Storing anew clears what was remembered of a dead token.

    \b
      vault-ticket store support
      vault-ticket store support --client-id 4711 <token.txt
    """
    settings, wanted = common.load_profile(profile)
    with wired(settings, os.environ) as wiring:
        client = client_id or wanted.client_id
        token = terminal.read_secret("Refresh token (not shown)", "refresh token", source)
        if client is None:
            if source is not None or not sys.stdin.isatty():
                raise click.UsageError("the profile has no client_id: give it with --client-id")
            client = click.prompt("Client ID", err=True).strip()

        deadline = Deadline.after(settings.timeout)
        # Given once more after it could not be saved, it is spent: what it was rotated to takes its place.
        token = wiring.journal.latest(token, settings.grant_address(wanted))
        wiring.issuer(wanted).save_what_waits(deadline)

        storing = StoreGrant(
            profile=wanted,
            store=wiring.store,
            endpoint=wiring.endpoint(wanted),
            journal=wiring.journal,
            address=settings.grant_address(wanted),
            clock=wiring.clock,
        )
        cache, in_time = wiring.cache(wanted), jobs_time(deadline)

        def job(caller: Waiter) -> None:
            try:
                storing.store_token(token, ClientIdentity(client), not no_verify, in_time, caller)
            finally:
                # Where it failed, too: a journal may wait now, and what is cached must not hide it.
                cache.forget()

        wiring.carrier.carry(job, None, deadline)

        proven = "Stored, unproven" if no_verify else "Proven by a refresh, and stored"
        terminal.show_note(f"{proven}: {wanted.grant} in Vault at {settings.vault.shown}.")
