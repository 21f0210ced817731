"""An entry of the journal, as it is written and read, and what its file's name tells without it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import StoredDataInvalid
from vault_ticket_plugin.model import ClientIdentity, Location
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress

# What we write, and the newest that we understand. An entry without a number is of the first format.
FORMAT = 1
_HEX = frozenset("0123456789abcdef")


class Unreadable(ValueError):
    """A file that can't be understood as an entry."""


class Newer(Unreadable):
    """An entry that a newer program wrote: it may mean more by it than we know."""


class Entry(NamedTuple):
    """A refresh token that Vault does not have yet."""

    kind: Literal["rotation", "seed"]
    """A rotation replaces the spent token if that still stands; a seed is what a person gave to `store`, after the
    server rotated it, and replaces what was there at `version`."""
    profile: str
    grant: str
    """Where it belongs (`GrantAddress.key`)."""
    where: Location
    spent: str
    """The fingerprint of the refresh token that `refresh_token` replaces."""
    refresh_token: Secret
    client: ClientIdentity | None
    at: float
    """When the token endpoint had answered, by Vault's time."""
    version: int
    """The grant's, as the claim left it or `store` saw it."""
    claim: str = ""
    """The id of a rotation's claim."""
    document: str = ""
    """`GrantAddress.document`; an older program did not note it, nor …"""
    server: str = ""
    """… `GrantAddress.server`."""

    @property
    def name(self) -> str:
        """Its file's."""
        if self.kind == "rotation":
            return f"{self.spent}-{self.refresh_token.fingerprint()}.journal"
        if self.document:
            return f"seed-{self.document}-{self.refresh_token.fingerprint()}.journal"
        return f"{self.profile}-{self.grant}.journal"

    @property
    def belongs_to(self) -> str:
        """As a person reads it."""
        server = f" in Vault at {self.server}" if self.server else ""
        return f"{self.where}{server}, of profile {self.profile}"


class Found(NamedTuple):
    """A file of the journal, or a folder that can't be trusted to have none."""

    name: str
    """Empty for a folder."""
    folder: str
    entry: Entry | None = None
    """None if it can't be read, …"""
    problem: str = ""
    """… because of this."""
    newer: bool = False
    """Whether a newer program wrote it."""

    def line(self, now: float) -> str:
        """For a person: since when it waits, and where it belongs."""
        if self.entry is None:
            return f"{self.path} can't be used: {self.problem}"
        since = f"since {to_rfc3339(self.entry.at)} ({show_duration(max(0.0, now - self.entry.at))})"
        return f"a refresh token waits on this host {since} for {self.entry.belongs_to}"

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.name) if self.name else self.folder

    def concerns(self, token: Secret, address: GrantAddress) -> bool:
        """Whether nothing may be spent before this is settled: it replaces that very token, or that very document."""
        spent = token.fingerprint()
        if self.entry is None:
            ours = (f"{spent}-", f"seed-{address.document}-")
            return not self.name or self.name.startswith(ours) or self.name.endswith(f"-{address.key}.journal")
        return self.entry.spent == spent or (self.entry.kind == "seed" and self.entry.grant == address.key)

    def is_for(self, address: GrantAddress) -> bool:
        """Whether it belongs to the grant at this address, as far as can be told without reading that."""
        if self.entry is None:
            return not self.name or address.document in self.name or self.name.endswith(f"-{address.key}.journal")
        return self.entry.grant == address.key or self.entry.document == address.document

    def trouble(self) -> StoredDataInvalid:
        """Why nothing can be spent."""
        if not self.name:
            return StoredDataInvalid(
                f"{self.path}: {self.problem}; what is in there can't be trusted, and may be the only good token",
                "Look into it, then make it yours alone (mode 0700).",
            )
        if self.newer:
            return StoredDataInvalid(
                f"the journal {self.path} was written by a newer vault-ticket", "Upgrade vault-ticket here."
            )
        return StoredDataInvalid(
            f"the journal {self.path} can't be read ({self.problem})",
            "It may hold the only good refresh token: put its refresh_token into the grant, then remove it.",
        )


def text_of(entry: Entry) -> str:
    plain = entry._asdict() | {"where": entry.where._asdict(), "refresh_token": entry.refresh_token.reveal()}
    del plain["client"]
    return json.dumps({"format": FORMAT} | plain | {"client_id": entry.client.id if entry.client else None})


def parse(text: str) -> Entry:
    """Unreadable (Newer among it) if it is no entry."""
    try:
        plain: Any = json.loads(text)
        if not isinstance(plain, Mapping):
            raise Unreadable("it is not an entry")
        if plain.get("format", FORMAT) > FORMAT:
            raise Newer("it is of a newer format")
        return _entry(plain)
    except (KeyError, TypeError, OverflowError, RecursionError, json.JSONDecodeError):
        raise Unreadable("it is not an entry") from None


def _entry(plain: Mapping[str, Any]) -> Entry:
    token, client_id = plain["refresh_token"], plain.get("client_id")
    entry = Entry(
        kind=plain["kind"],
        profile=plain["profile"],
        grant=plain["grant"],
        where=Location(**plain["where"]),
        spent=plain["spent"],
        refresh_token=Secret(token),
        client=ClientIdentity(client_id) if client_id else None,
        at=plain["at"],
        version=plain["version"],
        claim=plain.get("claim", ""),
        document=plain.get("document", ""),
        server=plain.get("server", ""),
    )

    texts: list[Any] = [token, entry.profile, entry.where.mount, entry.where.path, entry.claim, entry.server]
    names: list[Any] = [entry.spent, entry.grant, entry.document]  # parts of a file's name
    sound = (
        plain["kind"] in ("rotation", "seed")
        and all(isinstance(text, str) and text.isprintable() for text in texts + names)
        and all(_HEX.issuperset(name) for name in names)
        and "/" not in entry.profile
        and token != ""
        and isinstance(plain["version"], int)
        and math.isfinite(entry.at)
    )
    if not sound:
        raise Unreadable("it is not an entry")
    return entry
