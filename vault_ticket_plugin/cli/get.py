"""`vault-ticket get`: print a valid access token."""

from __future__ import annotations

import os

import click

from vault_ticket_plugin import formats
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.formats.token import text_of
from vault_ticket_plugin.issuer import Issuer
from vault_ticket_plugin.model import Demand, LiveTicket
from vault_ticket_plugin.warm import DEFAULT_FORMAT
from vault_ticket_plugin.wiring import wired

# Between two tries of --wait.
WAIT_INITIAL, WAIT_MAX = 1.0, 4.0


def _at_least_a_second(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and value < 1:
        raise click.BadParameter("at least 1s")
    return value


@click.command(short_help="Print a valid access token.")
@common.profile_argument
@click.option(
    "--format",
    "chosen",
    type=click.Choice(sorted(formats.FORMATS)),
    default=DEFAULT_FORMAT,
    show_default=True,
    help="json: with Version and Expiration, for programs; token: the bare token; header: an Authorization line; "
    "env: an export line for a shell; curl: for `curl --config -`; aws: credential_process; google: an executable's "
    "answer; kubernetes: an ExecCredential; terraform: external data; bazel: a credential helper's answer; "
    "github-actions: masked, and an output of the step. docs/formats.md shows each.",
)
@click.option(
    "--min-ttl",
    type=common.Duration(),
    default=0.0,
    help="The least time that it must still be valid, like 5m.",
)
@click.option("--force", is_flag=True, help="Get a new one, whatever is cached or remembered.")
@click.option(
    "--timeout",
    type=common.Duration(),
    help="Give up waiting after this time (default 20s, or the configured one).",
)
@click.option("--wait", is_flag=True, help="After a failure try again until the timeout.")
@click.option(
    "--wrap",
    type=common.Duration(),
    callback=_at_least_a_second,
    help="Print a token of Vault that gives the credential once, within this time, by `vault-ticket unwrap`.",
)
@click.option("--no-cache", is_flag=True, help="Neither read nor write this host's cache of tickets.")
@common.logging_options
def get(
    profile: str,
    chosen: str,
    min_ttl: float,
    force: bool,
    timeout: float | None,
    wait: bool,
    wrap: float | None,
    no_cache: bool,
) -> None:
    """Print a valid access token of PROFILE (default: $VAULT_TICKET_PROFILE, else `default`).

    Standard output has the credential and nothing else, and nothing at all unless it succeeds.

    \b
      vault-ticket get support
      vault-ticket get support --format header --min-ttl 5m
      eval "$(vault-ticket get support --format env)"
    """
    if wrap is not None:
        if chosen != DEFAULT_FORMAT:
            raise click.UsageError("what is wrapped has no format yet: `vault-ticket unwrap --format` chooses it")
        min_ttl = max(min_ttl, wrap)  # it may be unwrapped in the last moment

    form = formats.load(chosen)
    with terminal.report_errors_as(form):
        settings, wanted = common.load_profile(profile)
        context = FormatContext(wanted, os.environ, terminal.read_stdin() if form.asks else "")
        text = form.early(context)
        if text is not None:
            terminal.show_credential(text + "\n")
            return

        deadline = Deadline.after(settings.timeout if timeout is None else timeout)
        # A wrapped secret id logs in once: if what is printed is to be wrapped, the same process must do both.
        both = wrap is not None and settings.vault.auth.wrapped
        with wired(settings, os.environ, cached=not no_cache, one_shot=not both) as wiring:
            issuer, demand = wiring.issuer(wanted), Demand(min_ttl=min_ttl, force=force)
            live = _patiently(issuer, demand, deadline) if wait else issuer.ticket(demand, deadline)
            if wrap is None:
                terminal.show_ticket(live, form, context)
            else:
                terminal.show_credential(text_of(wiring.wrap(live.ticket, wrap, deadline)) + "\n")
            issuer.leave_saving_to_another()


def _patiently(issuer: Issuer, demand: Demand, deadline: Deadline) -> LiveTicket:
    """Vault and the token endpoint are asked no more often for that: the cooldown between tries holds here too."""
    backoff = deadline.backoff(WAIT_INITIAL, WAIT_MAX)
    while True:
        try:
            return issuer.ticket(demand, deadline)
        except VaultTicketError:
            if not backoff.sleep():
                raise
