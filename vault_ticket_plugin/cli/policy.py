"""`vault-ticket policy`: print the policy of a role."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault.policy import ANY_PROFILE, ROLES, Role, hcl


@click.command(short_help="Print a role's policy for Vault.")
@click.argument("role", type=click.Choice(ROLES), metavar="refresher|reader|operator")
@common.profile_argument
@click.option("--all-profiles", is_flag=True, help="For whichever profiles are at the default paths (policies/*.hcl).")
@common.logging_options
def policy(role: Role, profile: str, all_profiles: bool) -> None:
    """Print the least privilege that a role needs for PROFILE's own paths, in Vault's policy language.

    The refresher is the helper itself, the operator the person who stores the refresh token, the reader whoever reads
    the leased path.

    \b
      vault-ticket policy refresher support | vault policy write ticket-refresher-support -
    """
    if all_profiles:
        wanted = Profile.standard(ANY_PROFILE)
    else:
        wanted = load_settings(common.ANY_ADDRESS | dict(os.environ)).profile(profile)
    terminal.show_credential(hcl(role, wanted))
