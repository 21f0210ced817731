"""The warm path: answer a plain `get` from the cache before the rest of the program is even imported.

A cache entry is a text of lines. It says by itself under which configuration file and environment it was made,
how long it is good for, and what each simple format prints, so that nothing here parses, formats or decides:

    vault-ticket 1
    <configuration version: path, size, mtime, inode>
    <environment key>
    <ticket key>
    <wall clock> <monotonic clock> <seconds until the soft window> <seconds usable> <Vault's time then>
    <the ticket as JSON>
    <format>\t<what it prints>           (one line a format)

Whatever is not exactly as expected is a miss, and the whole program answers.
"""

from __future__ import annotations

import binascii
import os
import time

from vault_ticket_plugin import environment
from vault_ticket_plugin.folder import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC = "vault-ticket 1"
DEFAULT_FORMAT = "json"
# click's own switch: with it set the program prints completions.
COMPLETION = "_VAULT_TICKET_COMPLETE"


def cached_output(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """What to print for these arguments (without the program's name), or None: ask the whole program."""
    plain = _plain_get(arguments)
    if plain is None or COMPLETION in environ:
        return None
    profile = environment.profile_name(environ, plain[0])
    if not environment.is_profile_name(profile) or not environment.names_config(environ):
        return None

    config = environment.config_path(environ)
    key = environment.environment_key(environ, config)
    try:
        with Folder(environment.runtime_path(environ), create=False) as folder:
            text = folder.read(entry_name(profile, key))
            if _has_journal(folder.fd) or _has_journal(environment.state_path(environ)):
                return None  # a refresh token that has to be saved, which the whole program does after it has answered
        lines = (text or "").split("\n")
        if lines[0] != MAGIC or lines[1] != config_version(config) or lines[2] != key:
            return None
        wall, monotonic, fresh = [float(part) for part in lines[4].split(" ")[:3]]
    except (OSError, ValueError, IndexError):
        return None

    age = age_of(wall, monotonic)
    if age is None or not age < fresh:  # NaN is not
        return None

    start = plain[1] + "\t"
    for line in lines[6:]:
        if line.startswith(start):
            return line[len(start) :] + "\n"
    return None


def _has_journal(folder: str | int | None) -> bool:
    """Whether a refresh token waits there to be saved. A folder that is not there costs one call to the system."""
    if folder is None:
        return False
    try:
        return any(name.endswith(".journal") for name in os.listdir(folder))
    except OSError:
        return False


def entry_name(profile: str, key: str) -> str:
    """A checksum will do: of two environments that share one, each takes the other's entry for a miss."""
    return f"{profile}-{binascii.crc32(key.encode()):08x}.ticket"


def config_version(config: str | None) -> str:
    """What tells one state of the configuration file from another. OSError if it is not there."""
    if config is None:
        return "-"
    found = os.stat(config)
    return f"{config!a} {found.st_size} {found.st_mtime_ns} {found.st_ino}"


def monotonic() -> float:
    """Seconds of this boot, those of a suspended machine included."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def age_of(wall: float, since_boot: float) -> float | None:
    """Seconds since an entry was made, by the clock that went further; None if one says it is yet to come."""
    ages = time.time() - wall, monotonic() - since_boot
    return None if min(ages) < 0 else max(ages)


def _plain_get(arguments: Sequence[str]) -> tuple[str | None, str] | None:
    """(profile, format) of `get [PROFILE] [--format F] [--wait]`; None for anything else."""
    if not arguments or arguments[0] != "get":
        return None

    profile = chosen = None
    rest = iter(arguments[1:])
    for one in rest:
        if one == "--format" and chosen is None:
            chosen = next(rest, "")
        elif one.startswith("--format=") and chosen is None:
            chosen = one[len("--format=") :]
        elif one and not one.startswith("-") and profile is None:
            profile = one
        elif one == "--wait":
            continue
        else:
            return None

    return profile, DEFAULT_FORMAT if chosen is None else chosen
