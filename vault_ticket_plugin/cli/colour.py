"""How things look on a terminal, and only there: colour, a bar, lines that fit."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
from typing import Literal

import click

from vault_ticket_plugin.cli import terminal

Colour = Literal["green", "yellow", "red"]

BAR_WIDTH = 16
# Narrower than this a text is unreadable however it is broken.
NARROWEST = 30


def on_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def coloured() -> bool:
    """https://no-color.org: any value but an empty one."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: Colour | None = None, *, dim: bool = False, bold: bool = False) -> str:
    if not coloured() or not text:
        return text
    return click.style(text, fg=colour, dim=dim or None, bold=bold or None)


def bar(share: float, width: int = BAR_WIDTH) -> str:
    """`share` of 1 as a bar. A rest that is not nothing shows as something."""
    full, empty = ("█", "░") if _has_blocks() else ("#", ".")
    cells = min(width, max(round(share * width), 1 if share > 0 else 0))
    return full * cells + empty * (width - cells)


def wrap_text(text: str, indent: int) -> str:
    """`text` in lines that fit the terminal beside `indent` columns; as it is where nobody looks at it."""
    if not on_terminal():
        return text
    width = max(NARROWEST, shutil.get_terminal_size().columns - 1 - indent)
    return f"\n{' ' * indent}".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""])


def show(text: str) -> None:
    """To standard output, with a `?` for what a terminal of another encoding can't show."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    terminal.show_credential(text)


def _has_blocks() -> bool:
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
