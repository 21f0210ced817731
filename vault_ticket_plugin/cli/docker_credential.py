"""`vault-ticket docker-credential`: Docker's credential helper."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError, OutputLost, VaultTicketError
from vault_ticket_plugin.helpers import docker
from vault_ticket_plugin.model import Demand, Ticket
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.wiring import wired


def _user_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value in ("", docker.REFRESH_TOKEN):
        raise click.BadParameter("that would not be the name of a user", ctx, param)
    return value


@click.command("docker-credential", short_help="Answer Docker as its credential helper.")
@common.profile_argument
@click.argument("verb", type=click.Choice(["get", "store", "erase", "list"]))
@click.option(
    "--username",
    default=docker.USERNAME,
    show_default=True,
    callback=_user_name,
    help="The user name that the registry wants beside a token.",
)
@common.logging_options
def docker_credential(profile: str, verb: str, username: str) -> None:
    """Answer Docker, which calls this with VERB and its question on standard input.

    `get` gives the access token of PROFILE as the password for the registries that the profile names (`hosts` in the
    configuration), and has no credentials for any other. `list` tells which those are. `store` and `erase` are
    refused where something would be lost or left by it: Vault keeps the credential.

    Docker calls a program named docker-credential-NAME in the PATH: docs/formats.md has the two lines. As it wants,
    the reason of a failure is on standard output too, and the exit code is 1.
    """
    asked = terminal.read_stdin().strip()

    try:
        settings, wanted = common.load_profile(profile)
        if verb == "list":
            terminal.show_credential(docker.listing(wanted, username) + "\n")
        elif verb == "store":
            _store(settings, wanted, asked, username)
        elif not asked:
            _fail(docker.NO_ADDRESS)
        elif verb == "erase":
            if docker.names(wanted, asked):
                raise _nothing_kept(wanted, asked, "erase")
        elif docker.serves(wanted, asked):
            terminal.show_credential(docker.answer(_ticket(settings, wanted), asked, username) + "\n")
        else:
            _fail(docker.NOT_FOUND)
    except OutputLost:
        raise
    except VaultTicketError as error:
        # Docker itself drops the reason of a `get` that failed, and lets a person see standard error.
        terminal.show_error(error.message, error.hint, 1)
        _fail(docker.reason(error))


def _store(settings: Settings, profile: Profile, asked: str, username: str) -> None:
    """After a login with what `get` gave, that comes back: there is nothing to do. Anything else would be lost."""
    offered = docker.offered(asked)
    if offered is not None:
        address, name, secret = offered
        if name == username and docker.serves(profile, address) and _ticket(settings, profile).access_token == secret:
            return
    raise _nothing_kept(profile, offered[0] if offered else "", "store")


def _ticket(settings: Settings, profile: Profile) -> Ticket:
    with wired(settings, os.environ) as wiring:
        return wiring.ticket(profile.name, Demand(), Deadline.after(settings.timeout)).ticket


def _nothing_kept(profile: Profile, address: str, verb: str) -> ConfigError:
    return ConfigError(
        f"no credentials are kept here for {docker.shown(address)}, so there is nothing to {verb}",
        f"`vault-ticket store {profile.name}` puts a refresh token into Vault; "
        f"`vault-ticket revoke {profile.name}` withdraws the access token.",
    )


def _fail(reason: str) -> NoReturn:
    terminal.show_credential(reason + "\n")
    raise click.exceptions.Exit(1)
