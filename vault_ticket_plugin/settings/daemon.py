"""What the configuration says of the daemon: [daemon], `socket`, and a profile's `allow`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vault_ticket_plugin.settings.records import NOT_CONFIGURED, Allow, DaemonSettings, Listener, is_loopback
from vault_ticket_plugin.settings.table import Table, text_value

# What a hook can be told of: a new ticket, a profile that begins to fail, one that a person must mend, one mended.
HOOKS = ("refreshed", "failing", "dead", "recovered")
# A unix socket's path has so many bytes at the most, its last zero left out (unix(7)).
LONGEST_SOCKET_PATH = 107


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
    hooks.no_more()
    table.no_more()
    return settings


def allow(table: Table) -> Allow:
    found = Allow(
        users=table.get("users", frozenset(), "", _numbers(_user)),
        groups=table.get("groups", frozenset(), "", _numbers(_group)),
    )
    table.no_more()
    return found


def socket_path(value: object) -> str | None:
    text = text_value(value)
    path = text.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    if path == text or not path.startswith("/") or len(path.encode()) > LONGEST_SOCKET_PATH:
        raise ValueError(f"unix:/PATH of a socket, of at most {LONGEST_SOCKET_PATH} bytes")
    return path


def _listeners(value: object) -> tuple[Listener, ...]:
    found = tuple(_listener(one) for one in (value if isinstance(value, list) else [value]))
    if len(set(found)) != len(found):
        raise ValueError("each address once")
    return found


def _listener(value: object) -> Listener:
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


def _numbers(number_of: Callable[[str], int]) -> Callable[[Any], frozenset[int]]:
    def check(value: object) -> frozenset[int]:
        if not isinstance(value, list):
            raise ValueError("a list of names or numbers")
        return frozenset(_number(one, number_of) for one in value)

    return check


def _number(value: object, number_of: Callable[[str], int]) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1:
        return value
    if isinstance(value, str):
        try:
            return number_of(value)
        except KeyError:
            raise ValueError(f"names that this host knows, and {value!r} is none") from None
    raise ValueError("a list of names or numbers")


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
