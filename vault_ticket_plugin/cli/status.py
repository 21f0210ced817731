"""`vault-ticket status`: how each profile is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import click

from vault_ticket_plugin import environment
from vault_ticket_plugin.cli import common
from vault_ticket_plugin.cli.colour import Colour, bar, on_terminal, paint, show, wrap_text
from vault_ticket_plugin.cli.table import show_table
from vault_ticket_plugin.cli.terminal import show_note
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.status import Report, report, waiting
from vault_ticket_plugin.wiring import wired


@click.command(short_help="Show how each profile is.")
@click.option("--format", "chosen", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common.logging_options
def status(chosen: str) -> None:
    """Show each profile: valid until, time left, last refresh, by whom, and why it is failing.

    What waits on this host to be saved in Vault, for whatever profile, is named on standard error. No secret is shown.
    Without configured profiles it is the default one. The exit code is that of the first profile
    that fails, else 0.
    """
    settings = common.load()
    names = sorted(settings.profiles) or [environment.profile_name(os.environ, None)]
    with wired(settings, os.environ) as wiring:
        deadline = Deadline.after(settings.timeout)
        reports = [report(wiring, settings.profile(name), deadline) for name in names]
        still_waiting = waiting(wiring)
    if chosen == "json":
        plain = [{key: value for key, value in one._asdict().items() if key != "exit_code"} for one in reports]
        show(json.dumps(plain, indent=2) + "\n")
    else:
        show("".join(_picture(reports)) if on_terminal() else _table(reports))
    for line in still_waiting:
        show_note(line)
    raise click.exceptions.Exit(next((one.exit_code for one in reports if one.exit_code), 0))


HEADINGS = ("PROFILE", "STATE", "VALID UNTIL", "LEFT", "REFRESHED", "BY", "PROBLEM")
COLOURS: dict[str, Colour] = {"fresh": "green", "soft": "yellow", "hard": "red", "expired": "red", "none": "red"}
INDENT = 2


def _picture(reports: list[Report]) -> Iterator[str]:
    """For a person: a line a profile, with a bar for what is left, and what there is to say below it."""
    names = max(len(one.profile) for one in reports)
    spans = max(len(_left(one)) for one in reports)

    for one in reports:
        colour = COLOURS.get(one.state)
        life = bar((one.seconds_left or 0) / one.lifetime if one.lifetime else 0.0)
        until = f"until {one.valid_until}" if one.valid_until and one.state != "expired" else ""

        parts = (
            paint(f"{one.profile:<{names}}", bold=True),
            paint(f"{one.state:<7}", colour),
            paint(life, colour),
            f"{_left(one):>{spans}}",
            paint(until, dim=True),
        )
        yield "  ".join(parts).rstrip() + "\n"

        if one.refreshed_at:
            yield _below(f"refreshed at {one.refreshed_at} by {one.refreshed_by}", dim=True)
        if one.claimed_by:
            yield _below(f"being refreshed by {one.claimed_by}")
        if one.problem:
            yield _below(one.problem, colour="red" if one.exit_code else "yellow")
        if one.hint:
            yield _below(one.hint)


def _below(text: str, colour: Colour | None = None, dim: bool = False) -> str:
    return f"{' ' * INDENT}{paint(wrap_text(text, INDENT), colour, dim=dim)}\n"


def _left(one: Report) -> str:
    return "-" if one.seconds_left is None else show_duration(one.seconds_left)


def _table(reports: list[Report]) -> str:
    return show_table([_row(one) for one in reports], HEADINGS)


def _row(one: Report) -> tuple[str, ...]:
    return (
        one.profile,
        one.state,
        one.valid_until or "-",
        _left(one),
        one.refreshed_at or "-",
        one.refreshed_by or "-",
        one.problem or "-",
    )
