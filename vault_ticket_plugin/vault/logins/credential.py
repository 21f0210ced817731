"""What a login shows: a token, a secret id or a JWT, from a file of one line."""

from __future__ import annotations

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.secret import Secret

# A token, a secret id or a JWT is a few KiB at most.
MAX_FILE_BYTES = 1 << 16


def read_credential(path: str, what: str) -> Secret:
    """ConfigError if the file can't be read, or holds something else."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is no text").lower()
        raise ConfigError(f"{what} can't be read from {path}: {reason}", "Correct the path in [vault] auth.") from None
    return one_line(text, f"{what} in {path}")


def one_line(text: str, what: str) -> Secret:
    """It becomes a header's value: a line break in it would begin another header."""
    if not text or not (text.isascii() and text.isprintable()):
        raise ConfigError(f"{what} is empty or no single line of plain text", "Put the right one there.")
    return Secret(text)
