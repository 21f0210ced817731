"""[daemon], and `socket`: where a daemon listens, and what it does beside handing tickets out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vault_ticket_plugin.settings.hosts import is_loopback
from vault_ticket_plugin.settings.table import Table, text_value

# What a hook can be told of: a new ticket, a profile that begins to fail, one that a person must mend, one mended.
HOOKS = ("refreshed", "failing", "dead", "recovered")
# A unix socket's path has at most so many bytes, its last zero left out (unix(7)).
MAX_SOCKET_PATH = 107
# Whoever may connect is told from others by the kernel, not by the file's mode.
DEFAULT_SOCKET_MODE = 0o666
# Each waits for Vault or the token endpoint most of its time; more would only crowd a small Vault.
DEFAULT_WORKERS = 8
# More than a host's own programs need, far less than it takes to keep the daemon from others.
DEFAULT_RATE = 500.0
DEFAULT_HOOK_TIMEOUT = 10.0


class Listener(NamedTuple):
    """Where the daemon listens: the path of a unix socket, or else a loopback host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


class DaemonSettings(NamedTuple):
    """Without a table the daemon keeps tickets fresh, and listens nowhere."""

    listen: tuple[Listener, ...] = ()
    socket_mode: int = DEFAULT_SOCKET_MODE
    credentials: str | None = None
    """The path of a socket that gives a bare token to systemd's LoadCredential=."""
    workers: int = DEFAULT_WORKERS
    """Refreshes under way at once."""
    rate: float = DEFAULT_RATE
    """Requests a second that one caller may make."""
    audit: str | None = None
    """The path of a file, or `-` for standard error."""
    hooks: Mapping[str, tuple[str, ...]] = {}
    """By the name of what happens: the command and its arguments."""
    hook_timeout: float = DEFAULT_HOOK_TIMEOUT


NOT_CONFIGURED = DaemonSettings()


def read(table: Table) -> DaemonSettings:
    nothing: tuple[str, ...] = ()
    hooks = table.table("hooks")
    settings = DaemonSettings(
        listen=table.get("listen", NOT_CONFIGURED.listen, "", _listeners),
        socket_mode=table.get("socket_mode", NOT_CONFIGURED.socket_mode, "", _mode),
        credentials=table.get("credentials", NOT_CONFIGURED.credentials, "", socket_path),
        workers=table.get("workers", NOT_CONFIGURED.workers, "", _whole(1, 64)),
        rate=float(table.get("rate", int(NOT_CONFIGURED.rate), "", _whole(1, 1_000_000))),
        audit=table.get("audit", NOT_CONFIGURED.audit, "", _audit),
        hooks={name: hooks.get(name, nothing, "", _command) for name in HOOKS if hooks.has(name)},
        hook_timeout=table.duration("hook_timeout", NOT_CONFIGURED.hook_timeout, least=0.1),
    )

    for name in HOOKS:
        hooks.get(name, nothing, "", _command)  # so that an unknown one is told with all that there are
    hooks.reject_unknown_keys()
    table.reject_unknown_keys()
    return settings


def socket_path(value: object) -> str | None:
    text = text_value(value)
    path = text.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    if path == text or not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"unix:/PATH of a socket, of at most {MAX_SOCKET_PATH} bytes")
    return path


def _listeners(value: object) -> tuple[Listener, ...]:
    found = tuple(listener(one) for one in (value if isinstance(value, list) else [value]))
    if len(set(found)) != len(found):
        raise ValueError("each address once")
    return found


def listener(value: object) -> Listener:
    if isinstance(value, str) and value.startswith("unix:"):
        return Listener(path=socket_path(value) or "")
    parts = re.fullmatch(r"(?P<host>[A-Za-z0-9.]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})", value, re.ASCII) if isinstance(
        value, str
    ) else None  # fmt: skip
    if parts is None or not is_loopback(parts["host"]) or int(parts["port"]) > 65535:
        raise ValueError(
            "unix:/PATH, or a loopback address like 127.0.0.1:8207: no token is sent over a network unencrypted"
        )
    return Listener(host=parts["host"].strip("[]"), port=int(parts["port"]))


def _mode(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
        raise ValueError('a file mode in quotes, like "0660"')
    return int(value, 8)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return check


def _audit(value: object) -> str:
    text = text_value(value)
    if text != "-" and not text.startswith("/"):
        raise ValueError('a file\'s full path, or "-" for standard error')
    return text


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value) or not value[0]:
        raise ValueError('a command and its arguments, like ["/usr/local/bin/tell", "oncall"]')
    return tuple(value)
