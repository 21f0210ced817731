"""GitHub Actions: masked in the log, then an output of the step.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands: `::add-mask::VALUE` on standard
output with `%`, CR and LF escaped; outputs as `NAME=VALUE` lines in the file that `GITHUB_OUTPUT` names. An output is
read only by the steps that name it; what is put into the job's environment reaches every later step.
"""

from __future__ import annotations

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.formats.interface import AppendedLine, Format, FormatContext
from vault_ticket_plugin.model import Ticket

OUTPUT_FILE = "GITHUB_OUTPUT"
OUTPUT = "access_token"


def early(context: FormatContext) -> None:
    _file(context)


def render(ticket: Ticket, _context: FormatContext) -> str:
    token = ticket.access_token.reveal()
    return "::add-mask::" + token.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def appended(ticket: Ticket, context: FormatContext) -> AppendedLine:
    return AppendedLine(_file(context), f"{OUTPUT}={ticket.access_token.reveal()}")


def _file(context: FormatContext) -> str:
    path = context.environ.get(OUTPUT_FILE)
    if not path:
        raise ConfigError(f"{OUTPUT_FILE} is not set: this is no step of GitHub Actions", "Use another --format.")
    return path


FORMAT = Format(render, early=early, appended=appended)
