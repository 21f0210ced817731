"""What `store` does: prove a refresh token by one refresh, then put it, or what it was rotated to, into the grant."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import (
    CasMismatch,
    GrantMissing,
    SaveFailed,
    StoredDataInvalid,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.model import ClientIdentity, Ticket, TokenResponse
from vault_ticket_plugin.ports import KvStore, TokenEndpoint
from vault_ticket_plugin.refresh import grant_document, leased_path, spent_tokens
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.refresh.rotation import IN_MEMORY_SECONDS
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import GrantAddress, Profile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreGrant:
    """A person's re-seed always wins (I5): it overwrites whatever stands there, a claim included."""

    profile: Profile
    store: KvStore
    endpoint: TokenEndpoint
    journal: Journal
    address: GrantAddress
    clock: Clock
    forget: Callable[[], None]
    """Called once the grant is another, or one that waits in the journal: what is remembered here is of the old one."""

    def store_token(
        self, refresh_token: Secret, client: ClientIdentity, verify: bool, deadline: Deadline, caller: Waiter
    ) -> Ticket | None:
        """The ticket that proving it brought, published where we may; None without `verify`.

        Nothing is changed in Vault or on this host if the token turns out to be bad, or if we may not write. Once it is
        proven nobody's patience counts any more.
        """
        where = self.profile.grant
        version = self.store.current_version(where, deadline)
        self._refuse_spent(refresh_token, deadline)
        if not self.store.may_write(where, version == 0, deadline):
            raise VaultDenied(
                f"Vault will not let us write {where}",
                "Storing needs `create` and `update` there (policies/ticket-operator.hcl). Nothing was spent.",
            )

        caller.commit()
        if not verify:
            self._write(refresh_token, client, version, self.store.now().earliest, deadline)
            self.forget()
            return None

        # Proven first, and what it was rotated to is saved whatever else is wrong with the answer.
        started = self.store.now().earliest
        send_by = deadline.within(self.profile.request_timeout)
        answer = self.endpoint.refresh(refresh_token, client, send_by, send_by)
        deadline = Deadline.after(self.profile.claim_seconds, self.clock)
        self._save(refresh_token, client, version, answer, deadline)
        if answer.access_token is None:
            if answer.fault is not None:
                raise answer.fault
            return None

        ticket = Ticket(answer.access_token, answer.token_type, started, started + answer.expires_in)
        try:
            seen = leased_path.look(self.store, self.profile, deadline)
            leased_path.publish(
                self.store, self.profile, ticket, leased_path.LeasedVersion(None, seen.version, seen.span), deadline
            )
        except VaultTicketError as error:
            log.info("the ticket that proved the refresh token was not published: %s", error.message)
        return ticket

    def _refuse_spent(self, given: Secret, deadline: Deadline) -> None:
        """GrantRejected if the server has given another token for this one: a second use may end the whole family."""
        if spent_tokens.is_noted(self.store, self.profile.grant, given.fingerprint(), deadline):
            raise spent_tokens.spent_before(self.profile.name, self.profile.grant)

    def _save(
        self, given: Secret, client: ClientIdentity, version: int, answer: TokenResponse, deadline: Deadline
    ) -> None:
        token, now = answer.refresh_token, self.store.now().earliest
        if token is None or token == given:
            self._write(given, client, version, now, deadline)
            self.forget()
            return

        entry = Entry(
            kind="seed",
            profile=self.profile.name,
            grant=self.address.key,
            where=self.profile.grant,
            spent=given.fingerprint(),
            refresh_token=token,
            client=client,
            at=now,
            version=version,
            document=self.address.document,
            server=self.address.server,
        )
        self.journal.write(entry)
        self.forget()

        try:
            try:
                self._write(token, client, version, now, deadline.within(IN_MEMORY_SECONDS))
            except (VaultUnreachable, CasMismatch) as error:
                self.journal.persist(entry)
                landed = isinstance(error, VaultUnreachable) or error.maybe_ours
                self._write(token, client, version, now, deadline, landed)
        except VaultTicketError as error:
            self.journal.keep(entry, error)
            when = "once Vault can be written"
            if isinstance(error, CasMismatch):
                self._note(entry, deadline)
                when = "with the helper's Vault token, which may read the grant"
            raise SaveFailed(
                f"the refresh token is good, was rotated, and could not be stored: {error.message}",
                f"It is kept on this host: run `vault-ticket status` here {when}.",
            ) from None
        self.journal.remove(entry)
        self._note(entry, deadline)

    def _note(self, entry: Entry, deadline: Deadline) -> None:
        """The person still has the file: `store` is to refuse it from now on."""
        unnoted = spent_tokens.note(self.store, self.profile.grant, entry.spent, deadline)
        if unnoted is not None:
            log.warning(
                "storing this refresh token once more may end the grant, and would not be refused: it could not be "
                "noted as spent (%s). %s",
                unnoted.message,
                unnoted.hint,
            )

    def _write(
        self,
        refresh_token: Secret,
        client: ClientIdentity,
        version: int,
        now: float,
        deadline: Deadline,
        maybe_landed: bool = False,
    ) -> None:
        """Over what somebody else has written meanwhile, but never twice: what landed may have been rotated since.

        `maybe_landed`: an earlier write of it had no answer.
        """
        backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
        while True:
            document = grant_document.new_document(refresh_token, client, now, version)
            try:
                self.store.write(self.profile.grant, document, version, deadline)
                break
            except CasMismatch as mismatch:
                if self._has_landed(refresh_token, now, version, maybe_landed or mismatch.maybe_ours, deadline):
                    break
                if not backoff.sleep():
                    raise
                version = self.store.current_version(self.profile.grant, deadline)

        # The entry of this one is no longer needed, nor are those of earlier ones that were never saved.
        for found in self.journal.look():
            if found.entry is not None and found.entry.kind == "seed" and found.entry.grant == self.address.key:
                self.journal.remove(found.entry)

    def _has_landed(self, refresh_token: Secret, now: float, replaced: int, maybe: bool, deadline: Deadline) -> bool:
        """Whether what stands there is what we wrote (`maybe`: its answer was lost), or a replay of our entry, or has
        come from either."""
        where = self.profile.grant
        try:
            grant = grant_document.parse(self.store.read(where, deadline), where, self.profile.name)
        except (VaultDenied, GrantMissing, StoredDataInvalid):
            if not maybe:
                return False
            mismatch = CasMismatch(
                f"{where} was written at the same time, and Vault's answer to our own write was lost: it may be ours",
                "Run this again: a token that is in place and was rotated since is refused as spent, and then nothing "
                "more is to be done.",
            )
            mismatch.maybe_ours = True
            raise mismatch from None
        ours = grant.seeded_at == float(int(now)) and (grant.seeded_version or 0) > replaced
        return ours or grant.refresh_token == refresh_token
