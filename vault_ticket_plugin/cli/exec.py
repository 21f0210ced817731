"""`vault-ticket exec`: run a program that finds a valid access token where it looks for one."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import click

from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.errors import COMMAND_NOT_EXECUTABLE, COMMAND_NOT_FOUND, ConfigError
from vault_ticket_plugin.formats.env import ENVIRONMENT_NAME
from vault_ticket_plugin.formats.token import text_of
from vault_ticket_plugin.host import supervise
from vault_ticket_plugin.host.cache import open_runtime
from vault_ticket_plugin.host.token_file import STALE_SECONDS, SUFFIX, TokenFile
from vault_ticket_plugin.model import Demand, LiveTicket
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.wiring import wired

# WLCG bearer token discovery: a client looks at the first, then at the file that the second names.
BEARER_TOKEN, BEARER_TOKEN_FILE = "BEARER_TOKEN", "BEARER_TOKEN_FILE"
A_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class LoginEachTime(NamedTuple):
    """`TicketSource` (ports.py). Each time with a login of its own, given back: a command may run for weeks."""

    settings: Settings
    one_shot: bool = False

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        with wired(self.settings, os.environ, one_shot=self.one_shot) as wiring:
            return wiring.ticket(profile, demand, deadline)


class BeforeACommand(click.Command):
    """Ours is what stands before the first `--`; what stands after it is another program's, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[common.FOR_ANOTHER_PROGRAM] = "--" in args
        at = args.index("--") if "--" in args else len(args)
        command = tuple(args[at + 1 :])
        rest = super().parse_args(ctx, args[:at])
        if not any(command[:1]) and not ctx.resilient_parsing:
            raise click.UsageError("there is no command: put it after `--`", ctx)
        ctx.params["command"] = command
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND..."]


@click.command("exec", cls=BeforeACommand, short_help="Run a command that gets the access token.")
@common.profile_argument
@click.option(
    "--env",
    "variable",
    metavar="NAME",
    help=f"The variable with the token (default {ENVIRONMENT_NAME}), or with --file the one with the file's path "
    f"(default {BEARER_TOKEN_FILE}).",
)
@click.option("--file", "in_file", is_flag=True, help="Put the token into a file that is kept fresh meanwhile.")
@click.option(
    "--min-ttl",
    type=common.Duration(),
    default=0.0,
    help="The least time that the token must still be valid as COMMAND starts, like 5m.",
)
@common.logging_options
def exec(profile: str, variable: str | None, in_file: bool, min_ttl: float, command: tuple[str, ...]) -> None:
    """Run COMMAND with the access token of PROFILE in its environment, or in a file that is kept fresh.

    No shell is in between. Standard input and output are COMMAND's own, and its exit code is ours; 126 and 127 mean
    that it can't be run or is not there.

    A variable keeps the value it has at the start. A command that runs longer than a token lives needs --file: the
    file is readable by its owner alone, is replaced in one step before the token in it ends, and is removed when
    COMMAND ends. Signals are passed on.

    \b
      vault-ticket exec support -- ./report --since yesterday
      vault-ticket exec support --env API_TOKEN -- ./report
      vault-ticket exec support --file -- ./sync-forever
    """
    name = variable or (BEARER_TOKEN_FILE if in_file else ENVIRONMENT_NAME)
    if not A_VARIABLE.fullmatch(name):
        raise click.BadParameter("a variable's name has letters, digits and _", param_hint="--env")

    settings, wanted = common.load_profile(profile)
    first = LoginEachTime(settings, one_shot=True)
    live = first.ticket(wanted.name, Demand(min_ttl=min_ttl), Deadline.after(settings.timeout))

    if not in_file:  # it runs in our place: nothing is left for us to do
        _run(command, lambda: supervise.become(command, {**os.environ, name: text_of(live.ticket.access_token)}))
        return

    folder = open_runtime(os.environ)
    if folder is None:
        raise ConfigError("there is no folder for the token's file", "Set XDG_RUNTIME_DIR to one that is yours alone.")
    with folder:
        file = TokenFile(
            folder=folder,
            name=f"{wanted.name}-{secrets.token_hex(8)}{SUFFIX}",
            source=LoginEachTime(settings),
            profile=wanted.name,
            windows=wanted.windows,
            clock=HOST_CLOCK,
            seconds=settings.timeout,
        )
        status = _run(command, lambda: _with_file(command, file, name, live))
    _end_as(status)


def _with_file(command: tuple[str, ...], file: TokenFile, name: str, live: LiveTicket) -> int:
    environ = {**os.environ, name: file.path}
    if name == BEARER_TOKEN_FILE:
        environ.pop(BEARER_TOKEN, None)  # it would be preferred
    try:
        file.write(live.ticket)
        file.folder.sweep(SUFFIX, file.name, STALE_SECONDS)
    except OSError as error:
        raise ConfigError(f"{file.path} can't be written: {error.strerror}", "Correct its folder.") from None
    try:
        return supervise.supervise(command, environ, partial(file.keep, live))
    finally:
        file.folder.remove(file.name)  # where it could not even be started


def _run(command: tuple[str, ...], run: Callable[[], int]) -> int:
    try:
        return run()
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        what = "is not there" if missing else f"can't be run ({(error.strerror or 'no reason given').lower()})"
        code = COMMAND_NOT_FOUND if missing else COMMAND_NOT_EXECUTABLE
        terminal.show_error(f"{command[0]} {what}", "", code)
        raise click.exceptions.Exit(code) from None


def _end_as(status: int) -> None:
    """As the command ended: whoever waits for us sees the same."""
    if os.WIFSIGNALED(status):
        raise click.exceptions.Exit(common.end_by(os.WTERMSIG(status)))
    raise click.exceptions.Exit(os.waitstatus_to_exitcode(status))
