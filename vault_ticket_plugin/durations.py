"""Durations as people write them: `90`, `"90s"`, `"20m"`, `"1h"`."""

from __future__ import annotations

import math
import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
ALLOWED = "a number of seconds or a text like 90s, 20m, 1h, 1h30m"
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

# A hundred years. More is a slip of the hand, and would overflow a date.
MAX_DURATION = 100 * 366 * 86400.0


def parse_duration(value: object) -> float:
    """Seconds, not negative, at most a hundred years. ValueError (with what is allowed) for anything else."""
    if isinstance(value, bool):
        raise ValueError(ALLOWED)
    if isinstance(value, int | float):
        seconds = float(value) if abs(value) <= MAX_DURATION else math.inf
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        seconds = float(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        seconds = sum(float(number) * UNITS[unit] for number, unit in _PART.findall(value))
    else:
        raise ValueError(ALLOWED)
    if not 0 <= seconds <= MAX_DURATION:
        raise ValueError(f"{ALLOWED}, from 0 to a hundred years")
    return seconds


def show_duration(seconds: float) -> str:
    """The shortest exact text for whole seconds: `90s` is `1m30s`."""
    whole = int(seconds)
    if whole <= 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    return text
