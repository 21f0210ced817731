"""A rotated refresh token on its way into the grant document: save it, or find that a person's re-seed stands."""

from __future__ import annotations

import logging

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import CLOCK_STEP, Doubt, Grant
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import grant_document, spent_tokens
from vault_ticket_plugin.refresh.journal import Entry
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX

log = logging.getLogger(__name__)


def save(store: KvStore, entry: Entry, known: Grant | None, deadline: Deadline) -> Grant | None:
    """The grant as it now stands with the rotated token; None if a person has put another token there (I5).

    `known`: the grant as last read or written, to spare a read. Raises what the store raises; the token is then
    not saved.
    """
    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    by_hand = False
    while True:
        grant = known or _read_since(store, entry, deadline)
        if grant.refresh_token == entry.refresh_token:
            if by_hand:
                _note_spent(store, entry, deadline)
            return grant  # an earlier write of ours whose answer was lost, or that a crash followed
        if grant.refresh_token.fingerprint() != entry.spent:
            return None

        by_hand = grant_document.by_hand(grant)
        rotated = grant_document.with_token(grant, entry.refresh_token, _doubt(grant, entry))
        try:
            version = store.write(entry.where, rotated.document, grant.version, deadline)
            log.info("the rotated refresh token is saved at %s", entry.where)
            if by_hand:
                _note_spent(store, entry, deadline)
            return rotated._replace(version=version)
        except CasMismatch:
            if not backoff.sleep():
                raise
            known = None  # somebody edited the document, or took over our claim


def _note_spent(store: KvStore, entry: Entry, deadline: Deadline) -> None:
    """A file may still have what a hand put there: `store` is to refuse it from now on."""
    error = spent_tokens.note(store, entry.where, entry.spent, deadline)
    if error is not None:
        log.info("the spent refresh token is not noted beside %s: %s", entry.where, error.message)


def _read_since(store: KvStore, entry: Entry, deadline: Deadline) -> Grant:
    """The grant, no older than our claim on it was: an older one's token would pass for a person's re-seed.

    A later run has written nothing yet, so that a standby may answer it with what was there before. A lower version
    that was made later is not stale: somebody has deleted the document with all its versions, and begun anew.
    """
    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    while True:
        document = store.read(entry.where, deadline)
        if document.version >= entry.version or (document.created_at or 0.0) > entry.at + CLOCK_STEP:
            return grant_document.parse(document, entry.where, entry.profile)
        if not backoff.sleep():
            raise VaultUnreachable(f"Vault still shows what {entry.where} was before our claim", "Try again.")


def _doubt(grant: Grant, entry: Entry) -> Doubt | None:
    """Whether somebody else has tried the spent token before what it was rotated to could be saved.

    A server with reuse detection has then killed the family, the token that we are saving with it. Whoever is
    refused because of that shall be told why.
    """
    claim, cause = grant.notes.claim, grant.notes.doubt or grant.notes.rejection
    if claim is not None and claim.id == entry.claim:
        return None
    return None if cause is None else Doubt(entry.refresh_token.fingerprint(), cause.holder, cause.at)


def replay(store: KvStore, entry: Entry, deadline: Deadline) -> bool:
    """Put a journal's entry into Vault. False if a person has put another token there since."""
    if entry.kind == "rotation":
        return save(store, entry, None, deadline) is not None

    version = entry.version
    try:
        found = store.read(entry.where, deadline)
        version = found.version
        grant = grant_document.parse(found, entry.where, entry.profile)
        if grant.refresh_token == entry.refresh_token or grant.seeded_at == float(int(entry.at)):
            return True  # it had landed, and may have been rotated since
        if grant.refresh_token.fingerprint() != entry.spent and (grant.seeded_at or 0.0) > entry.at:
            return False
    except GrantMissing:
        pass  # nothing there yet, or deleted: what the person gave stands
    except VaultDenied:
        pass  # who seeds need not be able to read; check-and-set tells whether anything changed
    document = grant_document.new_document(entry.refresh_token, entry.client, entry.at, rotated=True)
    store.write(entry.where, document, version, deadline)
    _note_spent(store, entry, deadline)
    return True
