"""curl: a configuration for `curl --config -`, so that the token is in no command line.

https://curl.se/docs/manpage.html#-K: `option = "value"`, a line each; in quotes a backslash escapes.
"""

from __future__ import annotations

from vault_ticket_plugin.formats.interface import Format, FormatContext
from vault_ticket_plugin.model import Ticket

# A value that could end its quotes or its line could add options: another `url`, an `output`.
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\0": None})


def render(ticket: Ticket, _context: FormatContext) -> str:
    return f'oauth2-bearer = "{ticket.access_token.reveal().translate(ESCAPES)}"'


FORMAT = Format(render)
