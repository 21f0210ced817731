"""How we speak: the credential to standard output, whole and last; all else to standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO, TextIO

import click

from vault_ticket_plugin.clock import HOST_CLOCK
from vault_ticket_plugin.errors import OutputLost, VaultTicketError
from vault_ticket_plugin.formats.interface import AppendedLine, Format, FormatContext
from vault_ticket_plugin.log import NAME, JsonLines
from vault_ticket_plugin.model import LiveTicket
from vault_ticket_plugin.secret import Secret

# What a program asks is a few lines; more is something else.
MAX_QUESTION = 1 << 16


def show_credential(text: str) -> None:
    """One write, flushed: a reader gets all of it, or we fail."""
    stream: TextIO | None = sys.stdout  # None if it was closed before we began
    if stream is None:
        raise OutputLost("standard output is closed")
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Python flushes once more as it ends, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise OutputLost(
            f"standard output can't be written ({(error.strerror or 'no reason given').lower()})"
        ) from None


def show_ticket(live: LiveTicket, form: Format, context: FormatContext) -> None:
    ticket = live.for_host(HOST_CLOCK.wall(), HOST_CLOCK.monotonic())
    show_credential(form.render(ticket, context) + "\n")
    if form.appended:
        append_credential(form.appended(ticket, context))


def append_credential(to: AppendedLine) -> None:
    """To a file that the caller named and made: one of our making might be readable by others."""
    try:
        with open(os.open(to.path, os.O_WRONLY | os.O_APPEND), "w", encoding="utf-8") as file:
            file.write(to.line + "\n")
    except OSError as error:
        raise OutputLost(f"{to.path} can't be written ({(error.strerror or 'no reason given').lower()})") from None


def read_stdin() -> str:
    """What the calling program wrote to standard input; nothing where a person's terminal is there."""
    stream: TextIO | None = sys.stdin
    if stream is None or stream.isatty():
        return ""
    try:
        return stream.read(MAX_QUESTION)
    except (OSError, UnicodeDecodeError):
        return ""


def read_secret(prompt: str, what: str, source: IO[str] | None = None) -> Secret:
    """One word from `source`, else from standard input: from a person by a prompt that does not show it."""
    if source is not None:
        text = source.read(MAX_QUESTION)
    elif sys.stdin.isatty():
        text = click.prompt(prompt, hide_input=True, err=True)
    else:
        text = sys.stdin.read(MAX_QUESTION)
    text = text.strip()
    if not text or not text.isprintable() or " " in text:
        raise click.UsageError(f"that is no {what}: wanted one word on one line")
    return Secret(text)


@contextlib.contextmanager
def report_errors_as(form: Format) -> Iterator[None]:
    """A failure inside is shown as the format's caller wants it."""
    logger = logging.getLogger(NAME)
    if form.quiet and logger.level >= logging.WARNING:  # with -v a person has asked
        logger.setLevel(logging.CRITICAL + 1)

    try:
        yield
    except OutputLost:
        raise
    except VaultTicketError as error:
        if form.fail is not None:
            show_credential(form.fail(error) + "\n")
            raise click.exceptions.Exit(0) from None
        if form.one_line:
            show_error(f"{error.message}. {error.hint}" if error.hint else error.message, "", error.exit_code)
            raise click.exceptions.Exit(error.exit_code) from None
        raise


def show_note(text: str) -> None:
    """What a person wants to hear when a command has worked. To standard error: it is no credential."""
    handler = _json_handler()
    if handler is None:
        click.echo(text, err=True)
    else:
        handler.handle(logging.LogRecord(NAME, logging.INFO, __file__, 0, text, None, None))


def show_error(message: str, hint: str, exit_code: int) -> None:
    if _json_handler() is not None:
        details = {"hint": hint, "exit_code": exit_code}
        logging.getLogger(NAME).error("%s", message, extra={"details": details})
        return
    click.echo(f"vault-ticket: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def show_usage(error: click.UsageError) -> None:
    if _json_handler() is None:
        error.show()
    else:
        where = error.ctx.command_path if error.ctx else "vault-ticket"
        show_error(error.format_message(), f"Try `{where} --help`.", error.exit_code)


def _json_handler() -> logging.Handler | None:
    handlers = logging.getLogger(NAME).handlers
    return handlers[0] if handlers and isinstance(handlers[0].formatter, JsonLines) else None
