"""How we speak: the credential to standard output, whole and last; all else to standard error."""

from __future__ import annotations

import logging
import sys

import click

from vault_ticket_plugin.log import NAME, JsonLines


def show_credential(text: str) -> None:
    """One write, flushed: a reader gets all of it, or we fail."""
    sys.stdout.write(text)
    sys.stdout.flush()


def show_error(message: str, hint: str, exit_code: int) -> None:
    handlers = logging.getLogger(NAME).handlers
    if handlers and isinstance(handlers[0].formatter, JsonLines):
        details = {"hint": hint, "exit_code": exit_code}
        logging.getLogger(NAME).error("%s", message, extra={"details": details})
        return
    click.echo(f"vault-ticket: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
