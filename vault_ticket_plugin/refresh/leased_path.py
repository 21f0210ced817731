"""The leased path: where the ticket is published, and which expires with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from vault_ticket_plugin.clock import Deadline, from_rfc3339, to_rfc3339
from vault_ticket_plugin.errors import CasMismatch
from vault_ticket_plugin.model import Document, LiveTicket, Location, Ticket
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# `delete_version_after` may be this share of what remains (at least two seconds) shorter than exact: it then
# needs no second call at every refresh. It is never longer.
SPAN_SLACK = 0.01
MIN_SPAN_SLACK = 2.0


class LeasedVersion(NamedTuple):
    """What a look at the leased path found."""

    live: LiveTicket | None
    version: int = 0
    """What check-and-set must name."""
    span: float | None = None
    """Seconds from that version's write to its deletion."""

    @property
    def ticket(self) -> Ticket | None:
        return None if self.live is None else self.live.ticket


def look(store: KvStore, where: Location, deadline: Deadline) -> LeasedVersion:
    """A document that is no ticket counts as none: the next refresh writes a good one over it."""
    document = store.read(where, deadline)
    span = None
    if document.deletes_at is not None and document.created_at is not None:
        span = document.deletes_at - document.created_at
    ticket = parse(document)
    live = None if ticket is None else LiveTicket.at(ticket, store.now().latest, deadline.clock.monotonic())
    return LeasedVersion(live, document.version, span)


def publish(store: KvStore, profile: Profile, ticket: Ticket, seen: LeasedVersion, deadline: Deadline) -> None:
    """Put the ticket there, unless one that lasts longer has come meanwhile."""
    where = profile.ticket
    data = data_of(ticket)
    if where.kv_version == 1:
        # A promise that holds whenever it is read: the ticket is replaced when its soft window begins.
        data["ttl"] = f"{max(1, int(profile.windows.soft_for(ticket.lifetime) / 2))}s"
        store.write(where, data, None, deadline)
        log.info("published at %s, good until %s", where, data["expires_at"])
        return

    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    while True:
        remaining = float(int(ticket.left(store.now().latest)))
        if remaining < 1:
            return
        wanted = remaining if profile.lease == "delete" else 0.0
        if not _span_is_right(seen.span, wanted):
            store.expire(where, wanted, deadline)

        try:
            store.write(where, data, seen.version, deadline)
            log.info("published at %s, good until %s", where, data["expires_at"])
            return
        except CasMismatch:
            if not backoff.sleep():
                raise

            # Somebody else has published, or ours has arrived after all.
            seen = look(store, where, deadline)
            if seen.ticket is not None and seen.ticket.access_token == ticket.access_token:
                return  # ours after all: its answer was lost
            if seen.ticket is not None and seen.ticket.expires_at >= ticket.expires_at:
                return


def withdraw(store: KvStore, where: Location, deadline: Deadline) -> bool:
    """Take the ticket away for good, with the version before it. False where there was none."""
    seen = store.read(where, deadline)
    if seen.data is None:
        return False
    store.destroy(where, [version for version in (seen.version - 1, seen.version) if version > 0], deadline)
    return True


def _span_is_right(span: float | None, wanted: float) -> bool:
    if wanted == 0:
        return span is None
    slack = max(MIN_SPAN_SLACK, wanted * SPAN_SLACK)
    return span is not None and wanted - slack <= span <= wanted + 0.001


def data_of(ticket: Ticket) -> dict[str, Any]:
    """The ticket as the leased path has it."""
    return {
        "access_token": ticket.access_token.reveal(),
        "token_type": ticket.token_type,
        "issued_at": to_rfc3339(ticket.issued_at),
        "expires_at": to_rfc3339(ticket.expires_at),
    }


def parse(document: Document) -> Ticket | None:
    """None where it holds no ticket."""
    data: Mapping[str, Any] = document.data or {}
    try:
        token, kind = data["access_token"], data["token_type"]
        times = from_rfc3339(data["issued_at"]), from_rfc3339(data["expires_at"])
    except (KeyError, TypeError, ValueError):
        return None
    if not all(isinstance(text, str) and text and all("!" <= c <= "~" for c in text) for text in (token, kind)):
        return None
    return Ticket(Secret(token), kind, *times)
