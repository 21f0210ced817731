"""One table of a TOML file, read key by key, every error naming the file, the key and what is allowed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vault_ticket_plugin import environment
from vault_ticket_plugin.durations import parse_duration, show_duration
from vault_ticket_plugin.errors import ConfigError

T = TypeVar("T")
CREDENTIALS = "CREDENTIALS_DIRECTORY"


class Table:
    """One table of the file, read key by key; what nobody read is a key that does not exist."""

    def __init__(self, path: str, key: str, data: Mapping[str, Any]) -> None:
        self._path = path
        self._key = key
        self._data = data
        self._read: set[str] = set()

    def error(self, name: str, allowed: str) -> ConfigError:
        return ConfigError(f"{self._path}: {self._key}{name}: wanted {allowed}", "Correct it in that file.")

    def names(self) -> list[str]:
        self._read.update(self._data)
        for name in self._data:
            if not environment.is_profile_name(name):
                raise self.error(name, "a name of letters, digits and ._- (at most 64, no dot or dash in front)")
        return list(self._data)

    def has(self, name: str) -> bool:
        return name in self._data

    def get(self, name: str, default: T, allowed: str, convert: Callable[[Any], T]) -> T:
        """`convert` raises ValueError for what is not allowed."""
        self._read.add(name)
        if name not in self._data:
            return default
        try:
            return convert(self._data[name])
        except ValueError as error:
            raise self.error(name, str(error) or allowed) from None

    def text(self, name: str, default: str | None = None) -> str | None:
        return self.get(name, default, "a text", text_value)

    def path(self, name: str, default: str | None = None) -> str | None:
        return self.get(name, default, "a path", _path)

    def flag(self, name: str, default: bool) -> bool:
        return self.get(name, default, "true or false", _flag)

    def duration(self, name: str, default: float, least: float = 0.0, most: float = math.inf) -> float:
        return self.get(name, default, "", lambda value: _within(parse_duration(value), least, most))

    def optional_duration(self, name: str) -> float | None:
        nothing: float | None = None
        return self.get(name, nothing, "", lambda value: _within(parse_duration(value), 0.001, math.inf))

    def choice(self, name: str, default: T, allowed: tuple[T, ...]) -> T:
        said = "one of " + ", ".join(str(one) for one in allowed)
        return self.get(name, default, said, lambda value: _one_of(value, allowed))

    def table(self, name: str) -> Table:
        nothing: Mapping[str, Any] = {}
        data = self.get(name, nothing, "a table", _table)
        return Table(self._path, f"{self._key}{name}.", data)

    def pass_over(self, name: str) -> None:
        """A key that earlier versions had, and that has no effect any more (load.py warns of it)."""
        if name in self._data:
            self._read.add(name)

    def reject_unknown_keys(self) -> None:
        for name in self._data:
            if name not in self._read:
                raise self._unknown(name)

    def _unknown(self, name: str) -> ConfigError:
        import difflib

        near = difflib.get_close_matches(name, self._read, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        return ConfigError(
            f"{self._path}: {self._key}{name}: there is no such key",
            f"{hint}Allowed here: {', '.join(sorted(self._read))}.",
        )


def text_value(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a text, not empty, without control characters")
    return value


def vault_path(value: object) -> str:
    """A mount, a path below it or a namespace, in its one spelling: without a slash at either end."""
    text = text_value(value).removeprefix("/").removesuffix("/")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("a path in Vault like ticket/support/grant, without empty parts or dots")
    return text


def _path(value: object) -> str:
    """`~`, and the folder that systemd's LoadCredential= makes for a unit; where there is none the name stays.

    Absolute: what uses it may have another working directory by then (host/detached.py).
    """
    text, folder = text_value(value), os.environ.get(CREDENTIALS)
    if text.startswith(f"${CREDENTIALS}/"):
        return folder + text.removeprefix(f"${CREDENTIALS}") if folder else text
    if text == "~" or text.startswith("~/"):
        home = environment.home(os.environ)
        if home is None:
            raise ValueError("a path without ~, which stands for no folder here: HOME is not set")
        text = home + text.removeprefix("~")
    return os.path.abspath(os.path.expanduser(text))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _one_of(value: object, allowed: tuple[T, ...]) -> T:
    for one in allowed:
        if value == one and type(value) is type(one):
            return one
    raise ValueError


def _within(seconds: float, least: float, most: float) -> float:
    if seconds < least:
        raise ValueError(f"at least {show_duration(least)}")
    if seconds > most:
        raise ValueError(f"at most {show_duration(most)}")
    return seconds
