"""What a check finds: passed or not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.errors import ConfigError

Status = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check went."""

    status: Status
    """`warn`: it works, and should be mended all the same. `skip`: it could not be tested, or does not apply."""
    message: str
    hint: str = ""
    exit_code: int = 0
    """0 for what passed or was skipped."""
    blocks: bool = False
    """Whether the checks that need this one can't be made."""
    check: str = ""
    """Filled in by whoever ran it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One cause of failure."""

    name: str
    run: Callable[[DoctorContext], Finding]
    """It may raise an error of ours, which is then the finding."""
    needs: tuple[str, ...] = ()
    """The checks without which this one can't tell anything."""


def passed(message: str) -> Finding:
    return Finding("pass", message)


def skipped(message: str, blocks: bool = False) -> Finding:
    return Finding("skip", message, blocks=blocks)


def warned(message: str, hint: str) -> Finding:
    return Finding("warn", message, hint, ConfigError.exit_code)


def failed(message: str, hint: str, exit_code: int = ConfigError.exit_code) -> Finding:
    return Finding("fail", message, hint, exit_code, blocks=True)
