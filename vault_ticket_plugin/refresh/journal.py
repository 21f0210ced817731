"""The journal: a rotated refresh token on its way into Vault, kept where SIGKILL can't take it.

First in the runtime folder (memory: no disk sees it). If Vault does not take the token soon, in the state folder, on
disk, with file and folder synced. An entry is found by its file's name, whatever the profile is called and however
Vault's address is written:

    SPENT-NEW.journal               a rotation: the fingerprints of what was spent and of what it was rotated to
    seed-DOCUMENT-NEW.journal       what a person gave to `store`: nothing in Vault leads to it but its document
    PROFILE-GRANTKEY.journal        as older programs named both; renamed when it is met

Several may wait. Which of them goes where is told by rotation.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from vault_ticket_plugin.errors import SaveFailed, VaultTicketError
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.places import Places
from vault_ticket_plugin.refresh.journal_entry import Entry, Found, Newer, Unreadable, parse, text_of
from vault_ticket_plugin.refresh.journal_folders import ENTRY_SUFFIX, JournalFolders, has_entries
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress

log = logging.getLogger(__name__)


class Journal:
    """This user's, on this host. `runtime`: the call's own folder in memory."""

    def __init__(self, runtime: Folder | None, find_places: Callable[[], Places]) -> None:
        self._runtime = runtime
        self._folders = JournalFolders(runtime, find_places)

    # -- writing

    def write(self, entry: Entry) -> None:
        """Keep the entry in memory, or on disk if there is no runtime folder.

        If neither can have it this only warns: Vault may still take the token, and `keep` has the last word.
        """
        try:
            if self._runtime is not None:
                self._folders.leave_signpost(self._runtime.path, durable=False)
                self._runtime.write(entry.name, text_of(entry))
                return
        except OSError as error:
            log.info("the runtime folder does not take the journal (%s)", error.strerror)
        self.persist(entry)

    def persist(self, entry: Entry) -> None:
        """Have it on disk: memory may vanish at logout. This only warns, like `write`."""
        try:
            self._persist(entry)
        except OSError as error:
            log.warning("the journal can't be written (%s)", error.strerror)

    def keep(self, entry: Entry, cause: VaultTicketError) -> None:
        """Vault did not take the token (`cause`): have it on disk and say so loudly. SaveFailed if that fails too."""
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
        """Where it is now. The first folder that takes it has it."""
        failed = OSError(0, "there is no folder for it")
        for path in self._folders.places.state:
            try:
                with Folder(path) as folder:
                    if folder.read(entry.name) != text_of(entry):
                        self._folders.leave_signpost(path, durable=True)
                        folder.write(entry.name, text_of(entry), durable=True)
            except OSError as error:
                failed = error
                continue

            if self._runtime is not None and self._runtime.path != path:
                self._runtime.remove(entry.name)
                self._folders.clear_signpost(self._runtime.path)
            return os.path.join(path, entry.name)
        raise failed

    def _lost(self, entry: Entry, cause: VaultTicketError, disk: OSError) -> SaveFailed:
        message = f"a rotated refresh token could not be saved. Vault: {cause.message}. Disk: {disk.strerror}"
        for found in self.look():
            if found.name == entry.name:
                hint = f"It is in {found.path}, in memory only: run any vault-ticket command before this host restarts."
                return SaveFailed(message, hint)
        renew = "Create a refresh token (Settings → Installation → Public API), then run"
        return SaveFailed(message, f"It is lost. {renew} `vault-ticket store {entry.profile}`.")

    def remove(self, entry: Entry) -> None:
        """Vault has the token. An entry that stays all the same does no harm: it is found to be saved, or void."""
        try:
            with self._folders.opened() as opened:
                for folder in opened.folders:
                    folder.remove(entry.name, durable=folder is not self._runtime)
                    self._folders.clear_signpost(folder.path)
        except OSError as error:
            log.warning("a journal that is no longer needed can't be removed (%s)", error.strerror)

    # -- looking

    def look(self) -> list[Found]:
        """All that waits on this host for this user. What can't be read, or can't be trusted, is among it."""
        found: dict[str, Found] = {}
        with self._folders.opened() as opened:
            for folder in opened.folders:
                for name in _entry_names(folder):
                    if name not in found or found[name].entry is None:
                        found[name] = _read(folder, name)
            for error in opened.distrusted:
                found[str(error.filename)] = Found("", str(error.filename), problem=error.strerror or "")
        return list(found.values())

    def waits(self) -> bool:
        """Whether there is anything at all; nothing is read for that."""
        with self._folders.opened() as opened:
            return bool(opened.distrusted) or any(_entry_names(folder) for folder in opened.folders)

    def count(self) -> int:
        """How many wait here, of all profiles."""
        return len(self.look())

    def has_successor(self, token: Secret) -> bool:
        """Whether there is what this token was rotated to; the names alone tell."""
        with self._folders.opened() as opened:
            names = [name for folder in opened.folders for name in _entry_names(folder)]
        return any(name.startswith(f"{token.fingerprint()}-") for name in names)

    def adopt(self, address: GrantAddress) -> list[Found]:
        """As `look`, and gives entries of older programs their names, as far as this address tells."""
        return [self._adopted(found, address) for found in self.look()]

    def latest(self, token: Secret, address: GrantAddress) -> Secret:
        """What it was rotated to, as far as this journal knows; else itself.

        StoredDataInvalid if something can't be read that may know better.
        """
        spent: dict[str, Entry] = {}
        for found in self.look():
            if found.entry is not None:
                spent[found.entry.spent] = found.entry
            elif found.concerns(token, address):
                raise found.trouble()

        while (entry := spent.pop(token.fingerprint(), None)) is not None:
            token = entry.refresh_token
        return token

    def _adopted(self, found: Found, address: GrantAddress) -> Found:
        entry = found.entry
        if entry is None:
            return found
        if not entry.document and entry.grant == address.key:
            entry = entry._replace(document=address.document, server=address.server)
        if entry.name == found.name:
            return found
        try:
            with Folder(found.folder, create=False) as folder:
                folder.write(entry.name, text_of(entry), durable=True)
                folder.remove(found.name, durable=True)
        except OSError as error:
            log.warning("the journal %s keeps its old name (%s)", found.path, error.strerror)
        return found._replace(name=entry.name, entry=entry)


def _entry_names(folder: Folder) -> list[str]:
    names = folder.names()
    return [name for name in names if name.endswith(ENTRY_SUFFIX)] if has_entries(names) else []


def _read(folder: Folder, name: str) -> Found:
    found = Found(name, folder.path)
    try:
        return found._replace(entry=parse(folder.read(name) or ""))
    except Newer:
        return found._replace(problem="a newer vault-ticket wrote it", newer=True)
    except FolderUnusable as error:
        return found._replace(problem=error.strerror or "it is not safe to read")
    except (OSError, Unreadable) as error:
        return found._replace(problem=str(error))
