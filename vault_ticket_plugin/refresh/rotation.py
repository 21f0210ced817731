"""A rotated refresh token on its way into the grant document: save it, or find that a person's re-seed stands."""

from __future__ import annotations

import logging

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import CasMismatch, VaultUnreachable
from vault_ticket_plugin.model import CLOCK_STEP, Doubt, Grant, Location, Rotation
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import grant_document, spent_tokens
from vault_ticket_plugin.refresh.decide import Ruling, decide
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress, Profile

log = logging.getLogger(__name__)

# How long a token is on its way with a journal in memory alone: a logout may take that away.
IN_MEMORY_SECONDS = 1.0


def entry_of(grant: Grant, refresh_token: Secret, profile: Profile, address: GrantAddress, now: float) -> Entry:
    """The journal's entry for what this grant's token was rotated to."""
    return Entry(
        kind="rotation",
        profile=profile.name,
        grant=address.key,
        where=profile.grant,
        spent=grant.refresh_token.fingerprint(),
        refresh_token=refresh_token,
        client=None,
        at=now,
        version=grant.version,
        claim=grant.notes.claim.id if grant.notes.claim else "",
        document=address.document,
        server=address.server,
    )


def save(store: KvStore, journal: Journal, entry: Entry, known: Grant, deadline: Deadline) -> Grant | None:
    """The grant as it now stands with the rotated token; None if another token stands there (`decide`).

    `known`: the grant as last written, to spare a read. Raises what the store raises; the token is then not saved.
    After the first failure, or `IN_MEMORY_SECONDS`, the disk has it.
    """
    try:
        return _save(store, entry, known, deadline.within(IN_MEMORY_SECONDS))
    except (VaultUnreachable, CasMismatch):
        if deadline.passed():
            raise
        journal.persist(entry)
        return _save(store, entry, None, deadline)


def _save(store: KvStore, entry: Entry, known: Grant | None, deadline: Deadline) -> Grant | None:
    backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
    by_hand = False
    while True:
        grant = known or _read_since(store, entry, deadline)
        match decide(grant, entry):
            case Ruling.DONE:
                if by_hand:
                    note_spent(store, entry.where, entry, deadline)
                return grant  # an earlier write of ours whose answer was lost, or that a crash followed
            case Ruling.SAVE:
                pass
            case _:
                return None

        by_hand = grant_document.by_hand(grant)
        try:
            return write(store, entry.where, entry, grant, deadline)
        except CasMismatch:
            if not backoff.sleep():
                raise
            known = None  # somebody edited the document, or took over our claim


def write(
    store: KvStore, where: Location, entry: Entry, grant: Grant, deadline: Deadline, ended: bool = False
) -> Grant:
    """The grant with the rotated token in place of what is there. `ended`: its claim goes in the same write."""
    rotation = Rotation(entry.spent, entry.refresh_token.fingerprint(), entry.at)
    doubt = _doubt(grant, entry)
    if ended:
        grant = grant._replace(notes=grant.notes._replace(claim=None))
    rotated = grant_document.with_token(grant, entry.refresh_token, rotation, doubt)
    version = store.write(where, rotated.document, grant.version, deadline)
    log.info("the rotated refresh token is saved at %s", where)
    if grant_document.by_hand(grant):
        note_spent(store, where, entry, deadline)
    return rotated._replace(version=version)


def note_spent(store: KvStore, where: Location, entry: Entry, deadline: Deadline) -> None:
    """A file may still have what a hand put there, or gave to `store`: that refuses it from now on."""
    error = spent_tokens.note(store, where, entry.spent, deadline)
    if error is not None:
        log.info("the spent refresh token is not noted beside %s: %s", where, error.message)


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
