"""A ticket from this host's daemon, over its socket: one request, before Vault itself is asked.

What fails there fails here alike: the daemon tells an error of ours by its class, and it is raised here as if it had
happened here (docs/daemon.md).
"""

from __future__ import annotations

import json
import logging
import math
import os
from email.utils import parsedate_to_datetime

from vault_ticket_plugin import __version__
from vault_ticket_plugin.clock import Deadline, to_rfc3339
from vault_ticket_plugin.errors import Busy, ConfigError, VaultDenied, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.model import Document, LiveTicket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.transport.exchange import HttpResponse, Interrupted, NotSent, Transport

log = logging.getLogger(__name__)

# A daemon that has a ticket answers at once. One that is at a refresh may take longer: whoever can ask Vault too then
# waits there for the same refresh.
PATIENCE = 2.0
PROBLEM = "application/problem+json"


class NoAnswer(Exception):
    """Nobody listens there, or what listens is no daemon of ours that works. The text is one short reason."""


class NotAllowed(Exception):
    """The daemon does not give us this profile, or has none of that name."""


def request_ticket(path: str, profile: str, daemon_only: bool, min_ttl: float, deadline: Deadline) -> LiveTicket | None:
    """The daemon's ticket, or the error that it has in place of one; None if Vault itself is to be asked.

    `daemon_only`: no Vault is configured beside the daemon.
    """
    deadline = deadline if daemon_only else deadline.within(PATIENCE)

    try:
        try:
            live = fetch(path, profile, min_ttl, deadline)
        except ConfigError:
            if min_ttl <= 0:
                raise
            # Perhaps no ticket lives so long. That is no failure to remember: whoever asks for less gets one.
            live = fetch(path, profile, 0.0, deadline)
    except NoAnswer as nothing:
        if daemon_only:
            raise VaultUnreachable(
                f"the daemon at unix:{path} gives no answer: {nothing}; and no Vault address is configured",
                "Start it (`vault-ticket daemon`), or set VAULT_ADDR, or `address` under [vault].",
            ) from None
        log.info("the daemon at unix:%s gives no answer (%s): asking Vault", path, nothing)
        return None
    except NotAllowed:
        if daemon_only:
            raise denied(path, profile) from None
        log.info("the daemon at unix:%s does not give us %s: asking Vault", path, profile)
        return None
    except Busy as busy:
        if daemon_only:
            raise
        log.info("the daemon at unix:%s is busy (%s): asking Vault", path, busy.message)
        return None

    log.info("from the daemon at unix:%s, good until %s", path, to_rfc3339(live.ticket.expires_at))
    return live


def fetch(path: str, profile: str, min_ttl: float, deadline: Deadline) -> LiveTicket:
    """A usable ticket. NoAnswer, NotAllowed, or the error that the daemon has."""
    query = f"?min_ttl={math.ceil(min_ttl)}s" if min_ttl > 0 else ""
    response = _request(path, f"/v1/tickets/{profile}{query}", deadline)
    if response.status == 403:
        raise NotAllowed
    if response.status != 200:
        raise _error_in(response)
    try:
        now = parsedate_to_datetime(response.headers["date"]).timestamp()
        issued_at = parsedate_to_datetime(response.headers["last-modified"]).timestamp()
        plain = json.loads(response.body)
        names = {"access_token": "AccessToken", "token_type": "TokenType", "expires_at": "Expiration"}
        data = {ours: plain[theirs] for ours, theirs in names.items()}
    except (KeyError, ValueError, TypeError, RecursionError):
        raise NoAnswer("what it says is no ticket") from None

    ticket = leased_path.parse(Document(data | {"issued_at": to_rfc3339(issued_at)}), now)
    if ticket is None or not ticket.usable(now):
        raise NoAnswer("what it says is no ticket that can be used")
    return LiveTicket.at(ticket, now, deadline.clock.monotonic())


def is_alive(path: str, deadline: Deadline) -> bool:
    """Whether the daemon still does its work. NoAnswer if there is none."""
    return _request(path, "/healthz", deadline).status == 200


def is_ready(path: str, deadline: Deadline) -> bool:
    """Whether it has a usable ticket for every profile. NoAnswer if there is no daemon."""
    return _request(path, "/readyz", deadline).status == 200


def denied(path: str, profile: str) -> VaultDenied:
    return VaultDenied(
        f"the daemon at unix:{path} does not give us {profile}",
        f"Let us in there: `allow = {{ users = [{os.geteuid()}] }}` under [profiles.{profile}], or a group of ours.",
    )


def _request(path: str, target: str, deadline: Deadline) -> HttpResponse:
    transport = Transport(unix_socket=path)
    headers = {"Accept": f"application/json, {PROBLEM}", "User-Agent": f"vault-ticket/{__version__}"}
    try:
        return transport.exchange("GET", f"http://localhost{target}", headers, None, deadline, deadline.left())
    except (NotSent, Interrupted) as lost:
        raise NoAnswer(str(lost)) from None
    finally:
        transport.close()


def _error_in(response: HttpResponse) -> Exception:
    """The error of ours in a problem document (RFC 9457), or NoAnswer if it is none of ours."""
    try:
        if response.headers.get("content-type", "").partition(";")[0].strip() != PROBLEM:
            raise ValueError(response.status)
        return VaultTicketError.from_plain(json.loads(response.body))
    except (ValueError, RecursionError):
        return NoAnswer(f"status {response.status}")
