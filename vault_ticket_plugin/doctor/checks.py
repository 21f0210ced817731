"""The list of checks, and how they are run: in order, each skipped if one that it needs has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vault_ticket_plugin.doctor import agent, daemon, folders, grant, login, network, rights, server, ticket
from vault_ticket_plugin.doctor.context import DoctorContext
from vault_ticket_plugin.doctor.finding import Check, Finding, failed, passed, skipped
from vault_ticket_plugin.errors import VaultTicketError

CONFIGURATION = "configuration"

CHECKS = (
    Check("runtime folder", folders.runtime_folder),
    Check("journal", folders.journal),
    Check("login files", folders.login_files),
    Check("daemon", daemon.daemon),
    Check("dns", network.of(network.vault, network.name)),
    Check("address", network.of(network.vault, network.connection), ("dns",)),
    Check("tls", network.of(network.vault, network.certificate), ("address",)),
    Check("seal", server.seal, ("tls",)),
    Check("version", server.version, ("tls",)),
    Check("namespace", server.namespace, ("seal",)),
    Check("clock", server.clock, ("tls",)),
    Check("login", login.login, ("namespace",)),
    Check("token", login.token_life, ("login",)),
    Check("mounts", rights.mounts, ("login",)),
    Check("rights", rights.rights, ("mounts",)),
    Check("excess rights", rights.excess, ("login",)),
    Check("grant", grant.grant, ("rights",)),
    Check("check-and-set", grant.check_and_set, ("grant",)),
    Check("ticket", ticket.ticket, ("rights",)),
    Check("lease", ticket.lease, ("ticket",)),
    Check("ticket clock", ticket.ticket_clock, ("ticket",)),
    Check("agent interval", agent.agent_interval),
    Check("endpoint dns", network.of(network.endpoint, network.name)),
    Check("endpoint", network.of(network.endpoint, network.connection), ("endpoint dns",)),
    Check("endpoint tls", network.of(network.endpoint, network.certificate), ("endpoint",)),
)
CHECK_NAMES = (CONFIGURATION, *(check.name for check in CHECKS))


def examine(make_context: Callable[[], DoctorContext]) -> Iterator[Finding]:
    """One finding a check, in order. What an earlier failure makes impossible is skipped, by that one's name."""
    try:
        context = make_context()
    except VaultTicketError as error:
        yield _of(CONFIGURATION, _from(error))
        yield from (_of(check.name, _after(CONFIGURATION)) for check in CHECKS)
        return

    yield _of(CONFIGURATION, passed(context.settings.path or "no file; the environment says it all"))
    lost: dict[str, str] = {}  # a check that tells nothing, and the one that is to blame
    for check in CHECKS:
        blame = next((lost[name] for name in check.needs if name in lost), None)
        finding = _run(check, context) if blame is None else _after(blame)
        if blame is not None or finding.blocks:
            lost[check.name] = blame or check.name
        yield _of(check.name, finding)


def _run(check: Check, context: DoctorContext) -> Finding:
    try:
        return check.run(context)
    except VaultTicketError as error:
        return _from(error)


def _from(error: VaultTicketError) -> Finding:
    return failed(error.message, error.hint, error.exit_code)


def _after(blame: str) -> Finding:
    return skipped(f"not tested: see {blame}")


def _of(name: str, finding: Finding) -> Finding:
    return replace(finding, check=name)
