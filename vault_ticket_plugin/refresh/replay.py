"""What an earlier run on this host could not save: it goes into the grant before anything else is spent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, VaultDenied, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.model import CLOCK_STEP, Document, Grant
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import grant_document, rotation
from vault_ticket_plugin.refresh.decide import Ruling, decide
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.refresh.watch import Standing, Watcher
from vault_ticket_plugin.settings.profile import GrantAddress, Profile

log = logging.getLogger(__name__)


class _Standing(NamedTuple):
    """The document as last read or written."""

    version: int
    grant: Grant | None
    """None if nothing is stored."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One profile's grant, and the journal that may have something for it."""

    profile: Profile
    store: KvStore
    journal: Journal
    address: GrantAddress
    watcher: Watcher

    def settle(self, deadline: Deadline) -> None:
        """Save or drop what waits here for this grant, so that its token may be spent.

        StoredDataInvalid if something waits for it that can't be read. What belongs elsewhere stays as it is, and so
        does what has to wait for another holder's claim to end.
        """
        found = self.journal.adopt(self.address)
        waiting = {one.entry.name: one.entry for one in found if one.entry is not None}
        if not found:
            return
        try:
            standing = self._read(waiting.values(), deadline)
        except VaultDenied:
            self._settle_unseen(waiting.values(), deadline)
            return

        # What one brings may be the token that another replaces.
        while (entry := self._next(waiting.values(), standing)) is not None:
            del waiting[entry.name]
            standing = self._settle(entry, standing, deadline)

        if standing.grant is not None:
            for one in found:
                if one.entry is None and one.concerns(standing.grant.refresh_token, self.address):
                    raise one.trouble()

    def _read(self, entries: Iterable[Entry], deadline: Deadline) -> _Standing:
        """The document, no older than the entries that were made of it: a standby may show what was before them.

        A lower version that was made later is not stale: somebody has deleted all versions, and begun anew.
        """
        where = self.profile.grant
        own = [entry for entry in entries if self._is_own(entry)]
        backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
        while True:
            document = self._look(deadline)
            made = document.created_at or 0.0
            if not any(document.version < entry.version and made <= entry.at + CLOCK_STEP for entry in own):
                break
            if not document.version:
                break  # nothing is there; were that wrong, check-and-set would tell
            if not backoff.sleep():
                raise VaultUnreachable(f"Vault still shows what {where} was before our claim", "Try again.")

        try:
            grant = grant_document.parse(document, where, self.profile.name)
        except GrantMissing:
            grant = None
        return _Standing(document.version, grant)

    def _look(self, deadline: Deadline) -> Document:
        try:
            return self.store.read(self.profile.grant, deadline)
        except VaultTicketError:
            self.watcher.watches.forget()
            raise

    def _is_own(self, entry: Entry) -> bool:
        """Whether it was made for this very document, under this very address."""
        return entry.grant == self.address.key

    def _next(self, entries: Iterable[Entry], standing: _Standing) -> Entry | None:
        """What replaces the very token that stands there, before all else; of several the latest."""
        spent = standing.grant.refresh_token.fingerprint() if standing.grant is not None else ""
        mine = [entry for entry in entries if self._belongs(entry, standing.grant)]
        return max(mine, key=lambda entry: (entry.spent == spent, entry.at), default=None)

    def _belongs(self, entry: Entry, grant: Grant | None) -> bool:
        """Whether it is this document's to decide.

        An address that is written in another way may be another server's: there the tokens have to say that it is not.
        """
        if self._is_own(entry) or grant is None:
            return self._is_own(entry)
        spent = grant.refresh_token.fingerprint() == entry.spent
        if entry.kind == "seed":
            return entry.document == self.address.document and (spent or grant.refresh_token == entry.refresh_token)
        if entry.where != self.profile.grant:
            return spent
        siblings = grant.rotation is not None and grant.rotation.spent == entry.spent
        return spent or siblings or grant.refresh_token == entry.refresh_token

    def _settle(self, entry: Entry, standing: _Standing, deadline: Deadline) -> _Standing:
        """The document as it stands afterwards."""
        backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
        while True:
            match decide(standing.grant, entry):
                case Ruling.LEAVE:
                    return standing
                case Ruling.DONE:
                    log.info("Vault has the refresh token that was kept on this host")
                    self._settled(entry, deadline)
                    return standing
                case Ruling.DROP:
                    log.warning("a rotated refresh token is dropped: the grant was stored anew since")
                    self._settled(entry, deadline)
                    return standing

            if standing.grant is not None and self.watcher.standing(standing.grant, entry.claim) is Standing.LIVES:
                log.info("a refresh token waits on this host until another holder is done")
                return standing
            try:
                standing = self._write(entry, standing, deadline)
            except CasMismatch:
                if not backoff.sleep():
                    raise
                standing = self._read([entry], deadline)
            else:
                self._saved(entry, deadline)
                return standing

    def _write(self, entry: Entry, standing: _Standing, deadline: Deadline) -> _Standing:
        where = self.profile.grant
        if entry.kind == "rotation" and standing.grant is not None:
            saved = rotation.write(self.store, where, entry, standing.grant, deadline, ended=True)
            return _Standing(saved.version, saved)
        seeded = self._seed(entry, standing.version, deadline)
        return _Standing(seeded.version, grant_document.parse(seeded, where, self.profile.name))

    def _seed(self, entry: Entry, version: int, deadline: Deadline) -> Document:
        data = grant_document.new_document(entry.refresh_token, entry.client, entry.at, version)
        written = self.store.write(self.profile.grant, data, version, deadline)
        return Document(data, written, entry.at)

    def _settle_unseen(self, entries: Iterable[Entry], deadline: Deadline) -> None:
        """Who seeds need not be able to read: check-and-set tells whether the document is as `store` saw it."""
        own = sorted(filter(self._is_own, entries), key=lambda entry: entry.at)
        seeds = [entry for entry in own if entry.kind == "seed"]
        if seeds:
            try:
                self._seed(seeds[-1], seeds[-1].version, deadline)
            except CasMismatch:
                raise CasMismatch(
                    f"{self.profile.grant} has changed since `store` ran, and our token may not read it",
                    f"Run `vault-ticket get {self.profile.name}` here with a token that may, or store a new one.",
                ) from None
            for entry in seeds:  # the last one stands
                self._saved(entry, deadline)
        if len(own) > len(seeds):
            self.store.read(self.profile.grant, deadline)  # says that we may not

    def _saved(self, entry: Entry, deadline: Deadline) -> None:
        log.warning("a rotated refresh token, kept on this host until now, is saved in Vault")
        self._settled(entry, deadline)

    def _settled(self, entry: Entry, deadline: Deadline) -> None:
        self.journal.remove(entry)
        if entry.kind == "seed":
            rotation.note_spent(self.store, self.profile.grant, entry, deadline)
