"""What `store` does: prove a refresh token by one refresh, then put it, or what it was rotated to, into the grant."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import CasMismatch, SaveFailed, VaultDenied, VaultTicketError
from vault_ticket_plugin.model import ClientIdentity, Ticket, TokenResponse
from vault_ticket_plugin.ports import KvStore, TokenEndpoint
from vault_ticket_plugin.refresh import grant_document, leased_path
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.refresh.journal import Entry, Journal
from vault_ticket_plugin.refresh.retry import CATCH_UP_INITIAL, CATCH_UP_MAX
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreGrant:
    """A person's re-seed always wins (I5): it overwrites whatever stands there, a claim included."""

    profile: Profile
    store: KvStore
    endpoint: TokenEndpoint
    journal: Journal
    grant_key: str
    clock: Clock

    def store_token(
        self, refresh_token: Secret, client: ClientIdentity, verify: bool, deadline: Deadline, caller: Waiter
    ) -> Ticket | None:
        """The ticket that proving it brought, published where we may; None without `verify`.

        Nothing is changed in Vault where the token turns out to be bad, or where we may not write. Once it is proven
        nobody's patience counts any more.
        """
        where = self.profile.grant
        version = self.store.current_version(where, deadline)
        if not self.store.may_write(where, deadline):
            raise VaultDenied(
                f"Vault will not let us write {where}",
                "Storing needs `create` and `update` there (policies/ticket-operator.hcl). Nothing was spent.",
            )

        caller.commit()
        if not verify:
            self._write(refresh_token, client, version, deadline)
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
            seen = leased_path.look(self.store, self.profile.ticket, deadline)
            leased_path.publish(
                self.store, self.profile, ticket, leased_path.LeasedVersion(None, seen.version, seen.span), deadline
            )
        except VaultTicketError as error:
            log.info("the ticket that proved the refresh token was not published: %s", error.message)
        return ticket

    def _save(
        self, given: Secret, client: ClientIdentity, version: int, answer: TokenResponse, deadline: Deadline
    ) -> None:
        token = answer.refresh_token
        if token is None or token == given:
            self._write(given, client, version, deadline)
            return

        entry = Entry(
            kind="seed",
            profile=self.profile.name,
            grant=self.grant_key,
            where=self.profile.grant,
            spent=given.fingerprint(),
            refresh_token=token,
            client=client,
            at=self.store.now().earliest,
            version=version,
        )
        self.journal.write(entry)

        try:
            self._write(token, client, version, deadline)
        except VaultTicketError as error:
            self.journal.keep(entry, error)
            raise SaveFailed(
                f"the refresh token is good, was rotated, and could not be stored: {error.message}",
                "It is kept on this host: run any vault-ticket command here once Vault can be written.",
            ) from None
        self.journal.remove(entry)

    def _write(self, refresh_token: Secret, client: ClientIdentity, version: int, deadline: Deadline) -> None:
        backoff = deadline.backoff(CATCH_UP_INITIAL, CATCH_UP_MAX)
        while True:
            document = grant_document.new_document(refresh_token, client, self.store.now().earliest)
            try:
                self.store.write(self.profile.grant, document, version, deadline)
                return
            except CasMismatch:
                if not backoff.sleep():
                    raise
                version = self.store.current_version(self.profile.grant, deadline)
