"""The program: its commands, and how each ending becomes an exit code and a line on standard error."""

from __future__ import annotations

import importlib
import logging
import signal
import traceback
from types import FrameType
from typing import NoReturn

import click

from vault_ticket_plugin import __version__
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.errors import BY_SIGNAL, VaultTicketError, bug

log = logging.getLogger(__name__)

EPILOG = """\
Exit codes: 2 usage; 65 what Vault holds is not valid; 66 no grant stored; 69 Vault unreachable; 70 our bug; 74 a
rotated token, or the output, could not be written; 75 the token endpoint is away or busy: try later; 76 its answer
is not OAuth; 77 denied by Vault, or the grant is dead; 78 configuration, or the client is rejected; 126 and 127
`exec`: its command can't be run, or is not there.
"""


# Each is a module here of the same name, with a function of the same name.
COMMANDS = (
    "agent-config",
    "daemon",
    "docker-credential",
    "doctor",
    "exec",
    "get",
    "git-credential",
    "policy",
    "revoke",
    "setup",
    "status",
    "store",
    "terraform-credentials",
    "unwrap",
)


# What tells a command to end: a supervisor, a terminal's key, a terminal's closing.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ToldToEnd(BaseException):
    """By a signal. No Exception: nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Commands(click.Group):
    """Imports a command when it is called: `get` does not pay for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:  # all of them, to suggest one
            module = importlib.import_module(f"vault_ticket_plugin.cli.{name.replace('-', '_')}")
            self.add_command(getattr(module, name.replace("-", "_")))
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vault-ticket", message="%(prog)s %(version)s")
@common.logging_options
def program() -> None:
    """Access tokens for the Ticket API, kept fresh through HashiCorp Vault or OpenBao.

    A refresh token is stored in Vault once (`store`). Whoever may read the leased path gets a valid access token at
    any time (`get`): from this host's cache, else from Vault, else by one refresh for the whole fleet.

    \b
      vault-ticket store support      put a refresh token into Vault
      vault-ticket get support        print a valid access token

    \b
    The configuration is the first of these, if any; VAULT_ADDR and a token are enough:
      $VAULT_TICKET_CONFIG
      $XDG_CONFIG_HOME/vault-ticket/config.toml (~/.config/vault-ticket/config.toml)
      /etc/vault-ticket/config.toml
    """


def run() -> int:
    """The exit code of the command line in sys.argv."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup, which shall hold
            signal.signal(number, _on_signal)

    try:
        code = program.main(prog_name="vault-ticket", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except VaultTicketError as error:
        terminal.show_error(error.message, error.hint, error.exit_code)
        return error.exit_code
    except click.UsageError as error:
        terminal.show_usage(error)
        return error.exit_code
    except click.ClickException as error:
        terminal.show_error(error.format_message(), "", error.exit_code)
        return error.exit_code
    except click.Abort:  # the end of the input at a prompt
        return BY_SIGNAL + signal.SIGINT
    except ToldToEnd as told:
        return common.end_by(told.number)
    except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it is shown and has its exit code
        # Frames only: an exception's own text may quote a value.
        for frame in traceback.extract_tb(error.__traceback__):
            log.debug("  at %s:%s in %s", frame.filename, frame.lineno, frame.name)
        ours = bug(error)
        terminal.show_error(ours.message, ours.hint, ours.exit_code)
        return ours.exit_code


def _on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    # An exception, so that a login is given back on the way out, and a spend that is under way is waited for a little.
    raise ToldToEnd(number)
