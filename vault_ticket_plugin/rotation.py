"""A rotated refresh token on its way into the grant document: save it, or find that a person's re-seed stands."""

from __future__ import annotations

import logging
from dataclasses import replace

from vault_ticket_plugin import grant as grants
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, VaultDenied
from vault_ticket_plugin.journal import Entry
from vault_ticket_plugin.model import Grant
from vault_ticket_plugin.ports import Store

log = logging.getLogger(__name__)


def save(store: Store, entry: Entry, known: Grant | None, until: Deadline) -> Grant | None:
    """The grant as it now stands with the rotated token; None where a person has put another token there (I5).

    `known`: the grant as last read or written, to spare a read. Raises what the store raises; the token is then
    not saved.
    """
    while True:
        grant = known or grants.parse(store.read(entry.where, until), entry.where, entry.profile)
        if grant.refresh_token == entry.refresh_token:
            return grant  # an earlier write of ours whose answer was lost, or that a crash followed
        if grant.refresh_token.fingerprint() != entry.spent:
            return None
        rotated = grants.with_token(grant, entry.refresh_token)
        try:
            version = store.write(entry.where, rotated.document, grant.version, until)
            log.info("the rotated refresh token is saved at %s", entry.where)
            return replace(rotated, version=version)
        except CasMismatch:
            if until.passed():
                raise
            known = None  # somebody edited the document, or took over our claim


def replay(store: Store, entry: Entry, until: Deadline) -> bool:
    """Put a journal's entry into Vault. False where a person has put another token there since."""
    if entry.kind == "rotation":
        return save(store, entry, None, until) is not None
    version = entry.version
    try:
        document = store.read(entry.where, until)
        version = document.version
        grant = grants.parse(document, entry.where, entry.profile)
        if grant.refresh_token == entry.refresh_token:
            return True
        if grant.refresh_token.fingerprint() != entry.spent and (grant.seeded_at or 0.0) > entry.at:
            return False
    except GrantMissing:
        pass  # nothing there yet, or deleted: what the person gave stands
    except VaultDenied:
        pass  # who seeds need not be able to read; check-and-set tells whether anything changed
    store.write(entry.where, grants.seed(entry.refresh_token, entry.client_id, entry.at), version, until)
    return True
