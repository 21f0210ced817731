"""The daemon of this host, where its socket is named."""

from __future__ import annotations

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Finding, failed, passed, skipped, warned
from vault_ticket_plugin.errors import VaultDenied, VaultUnreachable
from vault_ticket_plugin.host import daemon_client


def daemon(context: DoctorContext) -> Finding:
    """It is there, does its work, and gives us a ticket. Where Vault can be asked too, it is not needed."""
    path, daemon_only = context.settings.socket, context.daemon_only
    if path is None:
        return skipped("no socket is configured")

    try:
        well = daemon_client.is_alive(path, context.deadline())
        live = daemon_client.fetch(path, context.profile.name, 0.0, context.deadline())
    except daemon_client.NoAnswer as nothing:
        told = f"the daemon at unix:{path} gives no answer: {nothing}"
        hint = "Start it (`vault-ticket daemon`), and check `socket` here and `listen` there."
        return (
            failed(told, hint, VaultUnreachable.exit_code) if daemon_only else warned(f"{told}; Vault is asked", hint)
        )
    except daemon_client.NotAllowed:
        error = daemon_client.denied(path, context.profile.name)
        if daemon_only:
            return failed(error.message, error.hint, VaultDenied.exit_code)
        return warned(f"{error.message}; Vault is asked", error.hint)

    if not well:
        return warned(f"the daemon at unix:{path} does not do its work any more", "Its log says why; restart it.")
    return passed(f"unix:{path} gives a ticket, good until {to_rfc3339(live.ticket.expires_at)}")
