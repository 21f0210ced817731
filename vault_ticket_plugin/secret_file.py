"""A new file that holds a secret: 0600 from its first moment, and never over another one."""

from __future__ import annotations

import os
from collections.abc import Callable

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.secret import Secret

# A secret id is a line; more is another file.
MAX_SECRET_BYTES = 1 << 12


def write_new(path: str, make: Callable[[], Secret]) -> None:
    """The secret is only made when the file is there to take it. ConfigError if the file can't be made."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None

    try:
        with os.fdopen(fd, "w") as file:
            file.write(make().reveal() + "\n")
            file.flush()
            os.fsync(fd)
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, OSError):
            raise _unusable(path, error) from None
        raise


def read(path: str) -> Secret | None:
    """What stands there; None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return Secret(file.read(MAX_SECRET_BYTES).strip())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from None


def _unusable(path: str, error: OSError | UnicodeDecodeError) -> ConfigError:
    reason = (getattr(error, "strerror", None) or "it is no text").lower()
    return ConfigError(f"{path} can't be used for a secret: {reason}", "Name another file, or correct its folder.")
