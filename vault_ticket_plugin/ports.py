"""The seams: where documents are kept (Vault), where refresh tokens are spent (the token endpoint), who has tickets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vault_ticket_plugin.clock import Deadline, Moment
from vault_ticket_plugin.model import ClientIdentity, Demand, Document, LiveTicket, Location, TokenResponse
from vault_ticket_plugin.secret import Secret


class TicketSource(Protocol):
    """Whoever gives tickets: what a command builds, a daemon's memory, a program's own."""

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        """A ticket that meets the demand if one can be had by then, else a usable one, else an error of ours."""


class KvStore(Protocol):
    """KV documents under check-and-set. Every call retries what is worth it until the deadline.

    Raises VaultUnreachable, VaultDenied, StoredDataInvalid or ConfigError (a mount that is not what the
    configuration says).
    """

    def now(self) -> Moment:
        """Vault's time: as its answers told it, carried on by this host's clock."""

    def read(self, where: Location, deadline: Deadline) -> Document:
        """After a write through this store, what is read is never older than that write."""

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None, deadline: Deadline) -> int:
        """The new version. CasMismatch unless `cas` (if given) is the current version, by the leader.

        A write whose answer was lost is tried again, and then fails on itself: after a CasMismatch that is
        `maybe_ours`, read.
        """

    def current_version(self, where: Location, deadline: Deadline) -> int:
        """The newest version's number, 0 if there is none; needs no right to read the data (KV v2)."""

    def custom_metadata(self, where: Location, deadline: Deadline) -> Mapping[str, Any]:
        """What people and programs have noted beside the document (KV v2); empty if there is nothing."""

    def patch_custom_metadata(self, where: Location, changes: Mapping[str, str], deadline: Deadline) -> None:
        """Change these keys there and no others; the document must be there. No check-and-set guards it."""

    def may_write(self, where: Location, new: bool, deadline: Deadline) -> bool:
        """Whether our token may write there (`new`: a document that is not there yet); True if Vault won't say."""

    def expire(self, where: Location, after: float, deadline: Deadline) -> None:
        """Let versions written from now on end after so many seconds; 0 for never (KV v2 metadata)."""

    def destroy(self, where: Location, versions: list[int], deadline: Deadline) -> None:
        """Withdraw these versions for good (KV v2), or the document (KV v1)."""


class TokenEndpoint(Protocol):
    """The authorization server's token endpoint (RFC 6749 section 6)."""

    def refresh(
        self, refresh_token: Secret, client: ClientIdentity, send_by: Deadline, deadline: Deadline
    ) -> TokenResponse:
        """One request, sent by then or not at all; an answer is read until the deadline.

        EndpointUnavailable (not spent), SpendInDoubt, GrantRejected, ClientRejected, ProtocolError.
        """

    def revoke(self, access_token: Secret, client: ClientIdentity | None, deadline: Deadline) -> bool:
        """RFC 7009. False if no revocation URL is configured."""
