"""Our logger's one handler: standard error, as text or as one JSON object a line. The root logger is left alone."""

from __future__ import annotations

import json
import logging
import sys
from typing import Literal

LogFormat = Literal["text", "json"]
NAME = "vault_ticket_plugin"
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.WARNING else f"{record.levelname.lower()}: "
        return f"vault-ticket: {level}{record.getMessage()}"


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        plain: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "module": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(plain | getattr(record, "details", {}))


def configure(verbosity: int, log_format: LogFormat) -> None:
    """`verbosity`: how many -v; warnings at 0, what is done at 1, every request at 2."""
    logger = logging.getLogger(NAME)
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logger.addHandler(handler)
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    logger.propagate = False


def show_at_least(level: int, room: str) -> None:
    """What a room logs from this level on is shown, whatever is asked for besides."""
    logger = logging.getLogger(f"{NAME}.{room}")
    logger.setLevel(min(level, logging.getLogger(NAME).level))
