"""The command line: the only room that imports click, and the only one that exits."""

from vault_ticket_plugin.cli.main import run

__all__ = ["run"]
