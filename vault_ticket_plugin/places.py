"""Where a journal's entries may lie: folders that follow from the user alone, and those that the environment names."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import NamedTuple

from vault_ticket_plugin import environment, password_database

log = logging.getLogger(__name__)


class Places(NamedTuple):
    """Paths, each once, in the order in which they are tried."""

    runtime: tuple[str, ...]
    """Folders that memory keeps, perhaps until logout only. The first is this call's own."""
    state: tuple[str, ...]
    """Folders that a disk keeps."""
    fixed: tuple[str, ...]
    """Those that this user's calls look into whatever their environment is."""
    signposts: str | None
    """The fixed one of the state folders, where others are pointed to."""


def places(environ: Mapping[str, str]) -> Places:
    """For this user and environment. It may ask the password database, so it has no place on the warm path."""
    runtime = _each_once(environment.runtime_paths(environ))
    named, users = environment.state_paths(environ), _users_state(environ)
    if users is None and not named:
        log.warning("no folder can keep a rotated token that Vault does not take: this user has no home folder")
    state = _each_once(named + ([users] if users else []))
    fixed = (*environment.users_runtime_paths(), *([users] if users else []))
    return Places(runtime, state, fixed, users)


def _users_state(environ: Mapping[str, str]) -> str | None:
    """By the password database, so that cron, sudo and a login agree; without an entry there, by HOME."""
    user = os.geteuid()
    if user == 0:
        return environment.ROOT_STATE
    folder = password_database.home(user) or environment.home(environ)
    return environment.state_below(folder) if folder else None


def _each_once(paths: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
