"""`vault-ticket daemon`: keep the leased path of every profile fresh, and hand tickets out."""

from __future__ import annotations

import logging
import os

import click

from vault_ticket_plugin import log
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.errors import ConfigError


@click.command(short_help="Keep every profile's ticket fresh, and hand tickets out to this host's programs.")
@click.option("--once", is_flag=True, help="Look after each profile once, then end: for cron and CronJobs.")
@common.logging_options
def daemon(once: bool) -> None:
    """Keep the leased path of every configured profile fresh, and hand tickets out where `listen` in [daemon] says.

    Any number of daemons may run, on any hosts: one of them spends, the others see what it published. SIGHUP reads the
    configuration again, SIGTERM ends it when what is under way is finished. docs/daemon.md has all of it.

    With --once the exit code is that of the first profile that fails, by name, else 0.
    """
    try:
        from vault_ticket_plugin.daemon.service import Service
    except ImportError as error:
        raise ConfigError(
            f"the daemon needs a package that is not here: {error.name}",
            "Install it with its libraries: pip install 'vault-ticket-plugin[daemon]'.",
        ) from None
    log.show_at_least(logging.INFO, "daemon")  # what it does of its own accord nobody else can tell
    service = Service(os.environ)
    if not once:
        service.run()
        return
    failed = service.once()
    for name in sorted(failed):
        problem = failed[name]
        terminal.show_error(f"{name}: {problem.message}", problem.hint, problem.exit_code)
    if failed:
        raise click.exceptions.Exit(failed[min(failed)].exit_code)
