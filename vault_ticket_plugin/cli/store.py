"""`vault-ticket store`: put a refresh token into Vault."""

from __future__ import annotations

import os
import sys
from typing import IO

import click

from vault_ticket_plugin import environment
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import TokenRefused, VaultDenied
from vault_ticket_plugin.model import ClientIdentity
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.refresh.store_grant import StoreGrant
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.vault import callers_token
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
    Storing anew clears what was remembered of a dead token. A token that was spent before is refused: the server may
    end the whole grant at a second use.

    Vault is asked with the caller's own token (VAULT_TOKEN, BAO_TOKEN or the token file) if there is one, else by the
    configured login.

    \b
      vault-ticket store support
      vault-ticket store support --client-id 4711 <token.txt
    """
    configured, wanted = common.load_profile(profile)
    settings = _as_caller(configured)
    login = _login_of(settings)

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
            forget=wiring.cache(wanted).forget,
        )

        def job(caller: Waiter) -> None:
            storing.store_token(token, ClientIdentity(client), not no_verify, deadline, caller)

        try:
            wiring.carrier.carry(job, None, deadline)
        except VaultDenied as denied:
            raise _told_by_login(denied, login, configured) from None

        proven = "Stored, unproven" if no_verify else "Proven by a refresh, and stored"
        terminal.show_note(f"{proven}: {wanted.grant} in Vault at {settings.vault.shown}, with {login}.")


def _as_caller(settings: Settings) -> Settings:
    """With the token of whoever calls, if there is one: the helper's own login may not store grants.

    A listener that adds its own token gets none of ours (docs/decisions/0011).
    """
    own = callers_token(os.environ)
    nobody = own.token is None and not os.path.exists(own.token_file or "")
    if nobody or os.environ.get("VAULT_TICKET_AGENT"):
        return settings
    return settings._replace(vault=settings.vault._replace(auth=own))


def _login_of(settings: Settings) -> str:
    """Whose rights are used, as a person knows them."""
    auth = settings.vault.auth
    if auth.method == "none":
        return "the listener's own token"
    if auth.method != "token":
        return f"the {auth.method} login"
    variable = environment.server_variable(os.environ, "TOKEN")
    return f"the token in {variable[0] if variable and auth.token else auth.token_file}"


def _told_by_login(denied: VaultDenied, login: str, configured: Settings) -> VaultDenied:
    method, hint = configured.vault.auth.method, denied.advice
    if isinstance(denied, TokenRefused) and method not in ("token", "none"):
        hint = f"Get a new one (`vault login`), or take it away: the {method} login is used where there is none."
    return type(denied)(f"{denied.message} (it was asked with {login})", hint)
