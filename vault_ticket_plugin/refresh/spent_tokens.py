"""Refresh tokens that were spent, noted beside the grant: `store` refuses one before it is spent a second time.

A server that detects reuse ends the whole family at a second use, and the file that a token was stored from is still
there. A token counts as spent once the server has answered to it with another one. It is noted in the grant's custom
metadata, which a person's `kv put` leaves alone. That has no check-and-set: of two notes at once one may be lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import GrantRejected, VaultDenied, VaultTicketError
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.secret import FINGERPRINT_DIGITS

# The one key of ours in metadata that belongs to a person.
KEY = "vault_ticket_spent"
# What both servers take as one value of custom metadata: thirty notes.
MAX_TEXT = 512
# Nobody waits longer for a note.
NOTE_SECONDS = 2.0


def note(store: KvStore, where: Location, fingerprint: str, deadline: Deadline) -> VaultTicketError | None:
    """Note the token that this names; what stood in the way, if anything did."""
    deadline = deadline.within(NOTE_SECONDS)
    try:
        mark, noted = _mark(where, fingerprint), _noted(store, where, deadline)
        if mark in noted:
            return None
        noted = [*noted, mark][-((MAX_TEXT + 1) // (FINGERPRINT_DIGITS + 1)) :]
        store.patch_custom_metadata(where, {KEY: " ".join(noted)}, deadline)
    except VaultTicketError as error:
        return error
    return None


def is_noted(store: KvStore, where: Location, fingerprint: str, deadline: Deadline) -> bool:
    """False also if our token may not see the notes."""
    try:
        return _mark(where, fingerprint) in _noted(store, where, deadline)
    except VaultDenied:
        return False


def spent_before(profile: str, where: Location) -> GrantRejected:
    """What the server would say, had it been asked."""
    return GrantRejected(
        f"this refresh token was spent before for {where}: the server has given another one for it, and may end the "
        "whole grant if it meets this one again",
        f"Nothing was sent or changed. If `vault-ticket get {profile}` works, there is nothing to do; otherwise create "
        "another refresh token (Settings → Installation → Public API) and store that.",
    )


def _noted(store: KvStore, where: Location, deadline: Deadline) -> list[str]:
    """The marks of spent tokens, oldest first. What else somebody put there is passed over."""
    found: Mapping[str, object] = store.custom_metadata(where, deadline)
    text = found.get(KEY)
    return [one for one in text.split() if len(one) == FINGERPRINT_DIGITS] if isinstance(text, str) else []


def _mark(where: Location, fingerprint: str) -> str:
    """Made of what a journal's entry has of a spent token, and of no use for another grant."""
    text = "\0".join((fingerprint, where.mount, where.path))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_DIGITS]
