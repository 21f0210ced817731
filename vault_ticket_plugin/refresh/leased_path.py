"""The leased path: where the ticket is published, and which expires with it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from vault_ticket_plugin.clock import Deadline, from_rfc3339, to_rfc3339
from vault_ticket_plugin.errors import CasMismatch, GrantRejected, VaultTicketError
from vault_ticket_plugin.model import MAX_LIFETIME, Document, LiveTicket, Ticket
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.secret import FINGERPRINT_DIGITS, Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# `delete_version_after` may be this share of what remains (at least two seconds) shorter than exact: it then
# needs no second call at every refresh. It is never longer.
SPAN_SLACK = 0.01
MIN_SPAN_SLACK = 2.0
# What a KV v2 mount keeps beside the newest version at most, unless somebody has set more.
KEPT_VERSIONS = 10
# What tells in the published data that no other ticket will follow.
DEAD_SINCE = "dead_since"
# Nobody waits longer for that to be written.
MARK_SECONDS = 2.0


class LeasedVersion(NamedTuple):
    """What a look at the leased path found."""

    live: LiveTicket | None
    version: int = 0
    """What check-and-set must name."""
    span: float | None = None
    """Seconds from that version's write to its deletion."""
    withdrawn: bool = False
    """Whether a person has withdrawn what was there (`vault-ticket revoke`)."""

    @property
    def ticket(self) -> Ticket | None:
        return None if self.live is None else self.live.ticket


def look(store: KvStore, profile: Profile, deadline: Deadline) -> LeasedVersion:
    """A document that is no ticket of ours counts as none: the next refresh writes a good one over it."""
    document = store.read(profile.ticket, deadline)
    span = None
    if document.deletes_at is not None and document.created_at is not None:
        span = document.deletes_at - document.created_at
    now = store.now().latest
    ticket = parse(document, now, profile)
    if ticket is None and is_foreign(document, profile):
        log.warning("the ticket at %s is another grant's: each profile needs a ticket path of its own", profile.ticket)
    live = None if ticket is None else LiveTicket.at(ticket, now, deadline.clock.monotonic())
    if live is not None and DEAD_SINCE in (document.data or {}):
        live = live._replace(problem=_found_dead(document, profile))
    return LeasedVersion(live, document.version, span, document.destroyed or document.data == {})


def publish(
    store: KvStore,
    profile: Profile,
    ticket: Ticket,
    seen: LeasedVersion,
    deadline: Deadline,
    dead_since: float | None = None,
) -> bool:
    """Put the ticket there, unless one that lasts longer has come meanwhile.

    `dead_since`: it is the last one, for its grant was found dead then.

    False if a person has withdrawn what was there since `seen`: that may have been this very ticket, whose write's
    answer was lost.
    """
    where = profile.ticket
    data = data_of(ticket) | {"grant": grant_fingerprint(profile)}
    if dead_since is not None:
        data[DEAD_SINCE] = to_rfc3339(dead_since)
    if where.kv_version == 1:
        # A promise that holds whenever it is read: the ticket is replaced when its soft window begins.
        data["ttl"] = f"{max(1, int(profile.windows.soft_for(ticket.lifetime) / 2))}s"
        store.write(where, data, None, deadline)
        log.info("published at %s, good until %s", where, data["expires_at"])
        return True

    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    while True:
        remaining = float(int(ticket.left(store.now().latest)))
        if remaining < 1:
            return True
        wanted = remaining if profile.lease == "delete" else 0.0
        if not _span_is_right(seen.span, wanted):
            store.expire(where, wanted, deadline)

        try:
            store.write(where, data, seen.version, deadline)
            log.info("published at %s, good until %s", where, data["expires_at"])
            return True
        except CasMismatch:
            if not backoff.sleep():
                raise

            # Somebody else has published or withdrawn, or ours has arrived after all.
            seen = look(store, profile, deadline)
            if seen.withdrawn:
                return False
            if seen.ticket is not None and seen.ticket.access_token == ticket.access_token:
                return True  # ours after all: its answer was lost
            if seen.ticket is not None and seen.ticket.expires_at >= ticket.expires_at:
                return True


def publish_late(store: KvStore, profile: Profile, live: LiveTicket, deadline: Deadline) -> LiveTicket | None:
    """Publish what could not be published as it was obtained, on the version that was seen then.

    None if a person has withdrawn it since. What fails is raised as the ticket's problem.
    """
    if live.unpublished is None:
        return live
    try:
        stands = publish(store, profile, live.ticket, LeasedVersion(None, live.unpublished), deadline)
    except VaultTicketError as error:
        raise not_published(profile, error) from None
    return live._replace(unpublished=None, problem=None) if stands else None


def not_published(profile: Profile, error: VaultTicketError) -> VaultTicketError:
    """What is wrong with a ticket that is good all the same."""
    message = f"it is not published at {profile.ticket} yet, so that others may refresh once more: {error.message}"
    return type(error)(message, f"{error.hint} The next call here publishes it.".lstrip())


def mark_dead(store: KvStore, profile: Profile, seen: LeasedVersion, at: float, deadline: Deadline) -> None:
    """Let everybody know who is handed the last ticket, while it lasts, that a person must act. Best effort."""
    if seen.live is None or not seen.live.usable(deadline.clock.monotonic()):
        return
    try:
        publish(store, profile, seen.live.ticket, seen, deadline.within(MARK_SECONDS), dead_since=at)
    except VaultTicketError as error:
        log.info("the ticket at %s does not tell that its grant is dead: %s", profile.ticket, error.message)


def _found_dead(document: Document, profile: Profile) -> GrantRejected:
    try:
        since = " at " + to_rfc3339(from_rfc3339((document.data or {})[DEAD_SINCE]))
    except (KeyError, TypeError, ValueError, OverflowError):
        since = ""  # a person may have edited it: it counts all the same
    return GrantRejected(
        f"the refresh token was found dead{since}, and this ticket is the last one",
        f"Create a refresh token (Settings → Installation → Public API), then run `vault-ticket store {profile.name}`.",
        code="invalid_grant",
    )


def withdraw(store: KvStore, profile: Profile, deadline: Deadline) -> bool:
    """Take the ticket away for good, with the versions before it. False if there was none of this profile's.

    Destroying a version moves no number. So an empty one comes first, under check-and-set: a publication that is still
    on its way then fails. Destroyed with the others, it reads as nothing being there.
    """
    where = profile.ticket
    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    while True:
        found = store.read(where, deadline)
        if found.data is None or is_foreign(found, profile):
            return False
        if where.kv_version == 1:
            store.destroy(where, [], deadline)
            return True

        newest = found.version
        try:
            if found.data:
                newest = store.write(where, {}, newest, deadline)
        except CasMismatch:
            if not backoff.sleep():
                raise
            continue  # another ticket, or our empty version after all
        store.destroy(where, list(range(max(1, newest - KEPT_VERSIONS), newest + 1)), deadline)
        return True


def _span_is_right(span: float | None, wanted: float) -> bool:
    if wanted == 0:
        return span is None
    slack = max(MIN_SPAN_SLACK, wanted * SPAN_SLACK)
    return span is not None and wanted - slack <= span <= wanted + 0.001


def grant_fingerprint(profile: Profile) -> str:
    """Names the grant that a ticket is of, by where it is kept, without telling that."""
    return hashlib.sha256(f"{profile.grant.mount}\0{profile.grant.path}".encode()).hexdigest()[:FINGERPRINT_DIGITS]


def is_foreign(document: Document, profile: Profile) -> bool:
    """Whether it names another grant than the profile's. One that a person or an older version wrote names none."""
    named = (document.data or {}).get("grant")
    return named is not None and named != grant_fingerprint(profile)


def data_of(ticket: Ticket) -> dict[str, Any]:
    """The ticket alone, as the leased path has it."""
    return {
        "access_token": ticket.access_token.reveal(),
        "token_type": ticket.token_type,
        "issued_at": to_rfc3339(ticket.issued_at),
        "expires_at": to_rfc3339(ticket.expires_at),
    }


def parse(document: Document, now: float, profile: Profile | None = None) -> Ticket | None:
    """None if it holds no ticket, or another grant's than this profile's. `now`: Vault's time."""
    if profile is not None and is_foreign(document, profile):
        return None
    data: Mapping[str, Any] = document.data or {}
    try:
        token, kind = data["access_token"], data["token_type"]
        times = from_rfc3339(data["issued_at"]), from_rfc3339(data["expires_at"])
    except (KeyError, TypeError, ValueError):
        return None
    if not all(isinstance(text, str) and text and all("!" <= c <= "~" for c in text) for text in (token, kind)):
        return None
    if times[1] > now + MAX_LIFETIME:
        return None
    return Ticket(Secret(token), kind, *times)
