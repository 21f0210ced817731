"""`vault-ticket status`: how each profile is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from vault_ticket_plugin import environment
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.cli.table import show_table
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.report import Report, report
from vault_ticket_plugin.wiring import wired


@click.command(short_help="Show how each profile is.")
@click.option("--format", "chosen", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common.logging_options
def status(chosen: str) -> None:
    """Show each profile: valid until, time left, last refresh, by whom, and why it is failing.

    No secret is shown. Without configured profiles it is the default one. The exit code is that of the first profile
    that fails, else 0.
    """
    settings = common.load()
    names = sorted(settings.profiles) or [environment.profile_name(os.environ, None)]
    with wired(settings, os.environ) as wiring:
        until = Deadline.after(settings.timeout)
        reports = [report(wiring, settings.profile(name), until) for name in names]
    if chosen == "json":
        plain = [{key: value for key, value in asdict(one).items() if key != "exit_code"} for one in reports]
        terminal.show_credential(json.dumps(plain, indent=2) + "\n")
    else:
        terminal.show_credential(show_table([_row(one) for one in reports], HEADINGS))
    raise click.exceptions.Exit(next((one.exit_code for one in reports if one.exit_code), 0))


HEADINGS = ("PROFILE", "STATE", "VALID UNTIL", "LEFT", "REFRESHED", "BY", "PROBLEM")


def _row(one: Report) -> tuple[str, ...]:
    return (
        one.profile,
        one.state,
        one.valid_until or "-",
        "-" if one.seconds_left is None else show_duration(one.seconds_left),
        one.refreshed_at or "-",
        one.refreshed_by or "-",
        one.problem or "-",
    )
