"""Who may overwrite what: a rotated refresh token on its way into the grant, against what stands there by now."""

from __future__ import annotations

import enum
import math

from vault_ticket_plugin.model import CLOCK_STEP, Grant
from vault_ticket_plugin.refresh.journal_entry import Entry


class Ruling(enum.Enum):
    """What becomes of an entry."""

    SAVE = "save"
    DONE = "done"
    DROP = "drop"
    LEAVE = "leave"


def decide(grant: Grant | None, entry: Entry) -> Ruling:
    """What becomes of the entry whose document is `grant`, read no older than the entry; None if it is gone.

    The first row that fits counts.

        the document                                   | a rotation            | a seed (given to `store`)
        -----------------------------------------------+-----------------------+-------------------------------
        is gone: nothing stored, or deleted            | leave: a person's will| save
        holds the entry's token                        | done                  | done
        holds the spent token, or the one given        | save                  | save
        holds another one rotated from that same token | the later answer's stands, by Vault's time: save or drop
        was written by a person since                  | drop                  | drop
        is as `store` found it, notes and rotations by |                       |
        machines aside                                 | drop                  | save

    A rotation's last two rows are one: what is neither token, nor came of either, is a person's re-seed (I5), or later
    than both. When a person wrote a seed's document is told by the version and the time that our notes keep of it
    (grant_document.py), also after an edit that changed the token and left these notes in.
    """
    if grant is None:
        return Ruling.LEAVE if entry.kind == "rotation" else Ruling.SAVE
    if grant.refresh_token == entry.refresh_token:
        return Ruling.DONE
    if grant.refresh_token.fingerprint() == entry.spent:
        return Ruling.SAVE
    if grant.rotation is not None and grant.rotation.spent == entry.spent:
        # The note has whole seconds, rounded down.
        return Ruling.SAVE if math.floor(entry.at) > grant.rotation.at else Ruling.DROP
    if entry.kind == "rotation" or _stored_since(grant, entry):
        return Ruling.DROP
    return Ruling.SAVE


def _stored_since(grant: Grant, entry: Entry) -> bool:
    """Whether a person put a token there since `store` looked.

    By the version, or by the time: versions begin at 1 again once all of them were deleted.
    """
    later_version = grant.seeded_version is not None and grant.seeded_version > entry.version
    return later_version or (grant.seeded_at or 0.0) > entry.at + CLOCK_STEP
