"""`vault-ticket terraform-credentials`: Terraform's and OpenTofu's credentials helper."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.helpers import terraform
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.wiring import wired


@click.command("terraform-credentials", short_help="Answer Terraform as its credentials helper.")
@common.profile_argument
@click.argument("verb", type=click.Choice(["get", "store", "forget"]))
@click.argument("host")
@common.logging_options
def terraform_credentials(profile: str, verb: str, host: str) -> None:
    """Answer Terraform or OpenTofu, which call this with VERB and HOST.

    `get` gives the access token of PROFILE for the hosts that the profile names (`hosts` in the configuration), and
    no credentials for any other. `store` is refused, and `forget` where it would forget nothing: Vault keeps the
    credential.

    Terraform calls a program named terraform-credentials-NAME in ~/.terraform.d/plugins, with the configured args in
    front: docs/formats.md has the two lines.
    """
    settings, wanted = common.load_profile(profile)
    ours = wanted.serves(host)

    if verb == "store" or (verb == "forget" and ours):
        raise ConfigError(
            f"no credentials are kept here for {host}, so there is nothing to {verb}",
            f"`vault-ticket store {wanted.name}` puts a refresh token into Vault; "
            f"`vault-ticket revoke {wanted.name}` withdraws the access token.",
        )
    if verb == "forget":
        return

    if not ours:
        terminal.show_credential(terraform.credentials(None) + "\n")
        return

    with wired(settings, os.environ) as wiring:
        live = wiring.ticket(wanted.name, Demand(), Deadline.after(settings.timeout))
        terminal.show_credential(terraform.credentials(live.ticket) + "\n")
