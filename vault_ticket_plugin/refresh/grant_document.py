"""The grant document: how it is read, and what each step of the refresh transaction writes into it.

A person puts `refresh_token` and perhaps `client_id` there. Everything of ours is under the one key
`vault_ticket`, and a rewrite keeps every key that it does not know:

    {"refresh_token": "…", "client_id": "…",
     "vault_ticket": {"format": 1, "claim": {…}, "in_doubt": {…}, "rejected": {…}, "not_before": "…",
                      "refreshed": {…}, "rotated": {…}, "seeded_at": "…", "seeded_version": 3, "token": "…"}}

Writing the document anew, as a person does, so clears the latch and every other note. A person who changes the refresh
token alone leaves them in: `token`, the fingerprint of the one that they are about, shows that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from vault_ticket_plugin.clock import Deadline, from_rfc3339, to_rfc3339
from vault_ticket_plugin.errors import ConfigError, GrantMissing, StoredDataInvalid, VaultDenied
from vault_ticket_plugin.model import (
    Claim,
    ClientIdentity,
    Document,
    Doubt,
    Grant,
    Location,
    Notes,
    Refresh,
    Rejection,
    Rotation,
)
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh.retry import MAX_RETRY_AFTER
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

# The one key of ours in a document that belongs to a person.
NOTES_KEY = "vault_ticket"
# What we write, and the newest that we understand. Notes without a number are of the first format, in which a claim
# tells when it ends and not how long it lasts.
FORMAT = 2
_TIMES = {"at", "expires_at"}
# What began is never told to have begun later; what ends, never to end sooner.
_ENDS = {"expires_at"}

Note = Claim | Doubt | Rejection | Refresh | Rotation
T = TypeVar("T", Doubt, Rejection, Refresh, Rotation)


def parse(document: Document, where: Location, profile: str) -> Grant:
    """GrantMissing where nothing is stored, StoredDataInvalid where it can't be a grant.

    A note of ours that can't be understood counts as not there: a person may have edited the document. Notes of a newer
    format are StoredDataInvalid too: they may forbid what we would do.
    """
    store_it = f"Run `vault-ticket store {profile}`."
    if document.data is None:
        if document.version:
            raise GrantMissing(f"the grant at {where} has been deleted", store_it)
        raise GrantMissing(f"no grant is stored at {where}", f"{store_it} It asks for the refresh token.")

    token = document.data.get("refresh_token")
    if not isinstance(token, str) or not token.strip():
        raise StoredDataInvalid(f"the grant at {where} has no refresh_token (a text)", store_it)
    if not token.strip().isprintable():
        raise StoredDataInvalid(f"the refresh_token at {where} has control characters in it", store_it)

    client_id = document.data.get("client_id")
    if isinstance(client_id, int) and not isinstance(client_id, bool):
        client_id = str(client_id)  # `bao kv put` from a JSON file keeps a number
    if client_id is not None and (not isinstance(client_id, str) or not client_id.strip()):
        raise StoredDataInvalid(f"the client_id at {where} is not a text", store_it)

    found = document.data.get(NOTES_KEY)
    notes = found if isinstance(found, Mapping) else {}
    if (_number(notes.get("format")) or FORMAT) > FORMAT:
        raise StoredDataInvalid(
            f"a newer vault-ticket has left notes in the grant at {where} that this one does not understand",
            "Upgrade vault-ticket here; nothing is spent before.",
        )

    refresh_token = Secret(token.strip())
    about = notes.get("token")
    kept = not isinstance(about, str) or about == refresh_token.fingerprint()  # else a person has changed the token
    seeded_at = _time(notes.get("seeded_at")) if kept else None
    return Grant(
        refresh_token=refresh_token,
        client_id=client_id.strip() if client_id else None,
        version=document.version,
        document=document.data,
        notes=Notes(
            claim=_claim(notes.get("claim")),
            doubt=_note(Doubt, notes.get("in_doubt")),
            rejection=_note(Rejection, notes.get("rejected")),
            not_before=_pause(_time(notes.get("not_before")), document.created_at),
            refreshed=_note(Refresh, notes.get("refreshed")),
        ),
        # Written by hand it has no such note; then the version that a person wrote is this one.
        seeded_at=seeded_at or document.created_at,
        seeded_version=_number(notes.get("seeded_version")) if seeded_at else document.version,
        rotation=_rotation(notes.get("rotated"), refresh_token),
        created_at=document.created_at,
        cached=document.cached,
    )


def read(store: KvStore, where: Location, profile: str, deadline: Deadline) -> Grant:
    """The grant as it stands in the store."""
    try:
        document = store.read(where, deadline)
    except VaultDenied as denied:
        # Most likely a reader's token, which must not be told to ask for this right.
        message = f"no fresh ticket is there, and our token may not refresh it: {denied.message}"
        hint = "Readers can't refresh: it takes a host whose token has policies/ticket-refresher.hcl."
        raise VaultDenied(message, hint) from None
    return parse(document, where, profile)


def with_notes(grant: Grant, notes: Notes) -> Grant:
    """The grant with exactly these notes, and what is noted of its token; its `document` is what to write."""
    noted: dict[str, object] = {
        "format": FORMAT,
        "claim": _plain(notes.claim),
        "in_doubt": _plain(notes.doubt),
        "rejected": _plain(notes.rejection),
        "not_before": None if notes.not_before is None else to_rfc3339(math.ceil(notes.not_before)),
        "refreshed": _plain(notes.refreshed),
        "rotated": _plain(grant.rotation),
        "seeded_at": None if grant.seeded_at is None else to_rfc3339(grant.seeded_at),
        "seeded_version": grant.seeded_version,
        "token": grant.refresh_token.fingerprint(),
    }
    ours = {name: value for name, value in noted.items() if value is not None}
    return grant._replace(document={**grant.document, NOTES_KEY: ours}, notes=notes)


def with_token(grant: Grant, refresh_token: Secret, rotation: Rotation, doubt: Doubt | None = None) -> Grant:
    """The grant with a rotated refresh token, its claim and record kept."""
    document = {**grant.document, "refresh_token": refresh_token.reveal()}
    rotated = grant._replace(refresh_token=refresh_token, document=document, rotation=rotation)
    return with_notes(rotated, grant.notes.rotated(doubt))


def by_hand(grant: Grant) -> bool:
    """Whether a person put this refresh token there: a file may still have it, and be stored once more."""
    return grant.rotation is None


def same_claim(one: Grant, other: Grant) -> bool:
    mine, theirs = one.notes.claim, other.notes.claim
    return mine is not None and theirs is not None and mine.id == theirs.id


def client_of(profile: Profile, grant: Grant | None) -> ClientIdentity | None:
    """The profile's Client ID, else the grant's; None if neither has one."""
    found = profile.client_id or (grant.client_id if grant is not None else None)
    return ClientIdentity(found) if found else None


def needed_client(profile: Profile, grant: Grant) -> ClientIdentity:
    """ConfigError if there is none."""
    found = client_of(profile, grant)
    if found is None:
        raise ConfigError(
            f"profile {profile.name} has no Client ID",
            "Put client_id into the profile, or store it with the grant: `vault-ticket store` asks for it.",
        )
    return found


def new_document(refresh_token: Secret, client: ClientIdentity | None, now: float, replaced: int) -> dict[str, Any]:
    """What `store` writes over the version `replaced`: nothing of it stays."""
    document: dict[str, Any] = {"refresh_token": refresh_token.reveal()}
    if client is not None:
        document["client_id"] = client.id
    document[NOTES_KEY] = {
        "format": FORMAT,
        "seeded_at": to_rfc3339(now),
        "seeded_version": replaced + 1,
        "token": refresh_token.fingerprint(),
    }
    return document


def _plain(note: Note | None) -> dict[str, Any] | None:
    if note is None:
        return None
    said = {name: value for name, value in note._asdict().items() if value not in (None, "", math.inf)}
    return {name: _written(name, value) if name in _TIMES else value for name, value in said.items()}


def _written(name: str, time: float) -> str:
    return to_rfc3339(math.ceil(time) if name in _ENDS else time)


def _claim(value: object) -> Claim | None:
    """However odd it is, it counts: somebody may be spending. A length that can't be read is the longest."""
    if value is None:
        return None
    found: Mapping[str, Any] = value if isinstance(value, Mapping) else {"id": str(value)}
    seconds: Any = found.get("seconds")
    sound = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    return Claim(
        id=str(found.get("id", "")),
        holder=str(found.get("holder", "")) or "somebody",
        seconds=float(seconds) if sound else math.inf,
        fingerprint=str(found.get("fingerprint", "")),
        at=_time(found.get("at")),
        lock=str(found.get("lock", "")),
    )


def _note(kind: type[T], value: object) -> T | None:
    if not isinstance(value, Mapping):
        return None
    found: dict[str, Any] = {}
    for name in kind._fields:
        part = value.get(name)
        found[name] = _time(part) if name in _TIMES else part
        if found[name] is None and name in kind._field_defaults:
            continue
        if found[name] is None or not isinstance(found[name], str | float):
            return None
    return kind(**found)


def _pause(not_before: float | None, created_at: float | None) -> float | None:
    """Cut to what a server may ask for, from when it was written: an absurd one must not stop every host for good."""
    if not_before is None or created_at is None:
        return not_before
    return min(not_before, created_at + MAX_RETRY_AFTER)


def _rotation(value: object, refresh_token: Secret) -> Rotation | None:
    """None if it is about another token: a person has put the one that is there now."""
    found = _note(Rotation, value)
    return found if found is not None and found.fingerprint == refresh_token.fingerprint() else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _time(value: object) -> float | None:
    try:
        return from_rfc3339(value) if isinstance(value, str) else None
    except ValueError:
        return None
