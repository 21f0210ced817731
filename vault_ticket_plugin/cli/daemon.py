"""`vault-ticket daemon`: keep the leased path of every profile fresh, and hand tickets out."""

from __future__ import annotations

import logging
import os

import click

from vault_ticket_plugin import log
from vault_ticket_plugin.cli import common, terminal
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import Busy, ConfigError, VaultUnreachable
from vault_ticket_plugin.host import daemon_client
from vault_ticket_plugin.settings.load import load_settings

CHECK_SECONDS = 5.0


@click.command(short_help="Keep every profile's ticket fresh, and hand tickets out on this host.")
@click.option("--once", is_flag=True, help="Look after each profile once, then end: for cron and CronJobs.")
@click.option(
    "--check",
    type=click.Choice(["alive", "ready"]),
    help="Ask the daemon that runs here whether it does its work, or has a ticket for every profile: for probes.",
)
@common.logging_options
def daemon(once: bool, check: str | None) -> None:
    """Keep the leased path of every configured profile fresh, and hand tickets out where `listen` in [daemon] says.

    Any number of daemons may run, on any hosts: one of them spends, the others see what it published. SIGHUP reads the
    configuration again, SIGTERM ends it when what is under way is finished. docs/daemon.md has all of it.

    With --once the exit code is that of the first profile that fails, by name, else 0. With --check it is 69 where no
    daemon answers on the unix socket of the configuration, and 75 where it is not alive or not ready.
    """
    if check is not None:
        _check(check == "ready")
        return

    try:
        from vault_ticket_plugin.daemon.service import Service
    except ImportError as error:
        raise ConfigError(
            f"the daemon needs a package that is not here: {error.name}",
            "Install it with its libraries: pip install 'vault-ticket-plugin[daemon]'.",
        ) from None

    log.show_at_least(logging.INFO, "daemon")  # what it does by itself nobody else can tell
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


def _check(ready: bool) -> None:
    settings = load_settings(os.environ)
    path = next((one.path for one in settings.daemon.listen if one.path), settings.socket)
    if path is None:
        raise ConfigError("the configuration has no unix socket to ask at", "Set `listen` under [daemon], or `socket`.")
    try:
        fine = (daemon_client.is_ready if ready else daemon_client.is_alive)(path, Deadline.after(CHECK_SECONDS))
    except daemon_client.NoAnswer as error:
        hint = "Start it: `systemctl start vault-ticket`, or `vault-ticket daemon`."
        raise VaultUnreachable(f"the daemon at unix:{path} gives no answer: {error}", hint) from None
    if not fine:
        fact = "has no usable ticket for some profile" if ready else "does not do its work"
        raise Busy(f"the daemon at unix:{path} {fact}", "Its log says why.")
