"""The journal: a rotated refresh token on its way into Vault, kept where SIGKILL can't take it.

First in the runtime folder (memory: no disk sees it). Where Vault can't take the token in time, in the state
folder, on disk, with file and folder synced. One entry a grant: nothing is spent while there is one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from vault_ticket_plugin.errors import SaveFailed, StoredDataInvalid, VaultTicketError
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.model import ClientIdentity, Location
from vault_ticket_plugin.secret import Secret

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A refresh token that Vault does not have yet."""

    kind: Literal["rotation", "seed"]
    """A rotation replaces the spent token if that still stands; a seed is what a person gave to `store`, after the
    server rotated it, and replaces what was there at `version`."""
    profile: str
    grant: str
    """Where it belongs, as `Settings.grant_key` names it."""
    where: Location
    spent: str
    """The fingerprint of the refresh token that `refresh_token` replaces."""
    refresh_token: Secret
    client: ClientIdentity | None
    at: float
    """Vault's time."""
    version: int
    claim: str = ""
    """The id of a rotation's claim."""

    @property
    def name(self) -> str:
        return f"{self.profile}-{self.grant}.journal"


class Journal:
    def __init__(self, runtime: Folder | None, state_path: str) -> None:
        self._runtime = runtime
        self._state_path = state_path

    def write(self, entry: Entry) -> None:
        """Keep the entry in memory, or on disk where there is no runtime folder.

        Where neither can have it this only warns: Vault may still take the token, and `keep` has the last word.
        """
        try:
            if self._runtime is not None:
                self._runtime.write(entry.name, _text(entry))
                return
        except OSError as error:
            log.info("the runtime folder does not take the journal (%s)", error.strerror)
        try:
            self._persist(entry)
        except OSError as error:
            log.warning("the journal can't be written (%s)", error.strerror)

    def keep(self, entry: Entry, cause: VaultTicketError) -> None:
        """Vault did not take the token (`cause`): put it on disk and say so loudly. SaveFailed where that fails too."""
        try:
            place = self._persist(entry)
        except OSError as error:
            raise self._lost(entry, cause, error) from None
        log.warning(
            "Vault did not take the rotated refresh token (%s). It is kept in %s until a later run here saves it",
            cause.message,
            place,
        )

    def _persist(self, entry: Entry) -> str:
        with Folder(self._state_path) as state:
            state.write(entry.name, _text(entry), durable=True)
        if self._runtime is not None:
            self._runtime.remove(entry.name)
        return os.path.join(self._state_path, entry.name)

    def _lost(self, entry: Entry, cause: VaultTicketError, disk: OSError) -> SaveFailed:
        message = f"a rotated refresh token could not be saved. Vault: {cause.message}. Disk: {disk.strerror}"
        for folder in self._folders():
            if entry.name in folder.names():
                place = os.path.join(folder.path, entry.name)
                hint = f"It is in {place}, in memory only: run any vault-ticket command before this host restarts."
                return SaveFailed(message, hint)
        renew = "Create a refresh token (Settings → Installation → Public API), then run"
        return SaveFailed(message, f"It is lost. {renew} `vault-ticket store {entry.profile}`.")

    def remove(self, entry: Entry) -> None:
        """Vault has the token. An entry that stays all the same does no harm: it is found to be saved, or void."""
        try:
            for folder in self._folders():
                folder.remove(entry.name, durable=folder is not self._runtime)
        except OSError as error:
            log.warning("a journal that is no longer needed can't be removed (%s)", error.strerror)

    def waiting(self, profile: str, grant: str) -> list[Entry]:
        """The entries of that grant (as `Settings.grant_key` names it), none or one.

        StoredDataInvalid where there is one that can't be read: it may hold the only good refresh token.
        """
        name = f"{profile}-{grant}.journal"
        for folder in self._folders():
            try:
                if (text := folder.read(name)) is not None:
                    return [_entry(text)]
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                raise StoredDataInvalid(
                    f"the journal {folder.path}/{name} can't be read",
                    "It may hold the only good refresh token: put its refresh_token into the grant, then remove it.",
                ) from None
        return []

    def count(self) -> int:
        """How many wait here, of all profiles."""
        with contextlib.suppress(StoredDataInvalid, OSError):
            return len({name for folder in self._folders() for name in folder.names() if name.endswith(".journal")})
        return 1  # a folder that can't be trusted or read: that must be looked into

    def _folders(self) -> Iterator[Folder]:
        if self._runtime is not None:
            yield self._runtime
        try:
            state = Folder(self._state_path, create=False)
        except FolderUnusable as error:
            raise StoredDataInvalid(
                f"{error}: what is in there can't be trusted, and may be the only good refresh token",
                "Look into it, then make it yours alone (mode 0700).",
            ) from None
        except OSError:
            return
        with state:
            yield state


def _text(entry: Entry) -> str:
    plain = entry._asdict() | {"where": entry.where._asdict(), "refresh_token": entry.refresh_token.reveal()}
    del plain["client"]
    return json.dumps(plain | {"client_id": entry.client.id if entry.client else None})


def _entry(text: str) -> Entry:
    plain: Any = json.loads(text)
    where, token = Location(**plain["where"]), plain["refresh_token"]
    if not isinstance(token, str) or not token:
        raise ValueError("an entry without a token")
    client_id = plain.pop("client_id")
    client = ClientIdentity(client_id) if client_id else None
    return Entry(**plain | {"where": where, "refresh_token": Secret(token), "client": client})
