"""The protocol's safeguards, taken away one at a time: the simulator must find out what each is for.

The names are those of docs/promela/check, whose README says which property each guards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import CasMismatch, VaultTicketError
from vault_ticket_plugin.issuer import Issuer
from vault_ticket_plugin.model import Doubt, Grant, Location, Notes, Refresh, Ticket
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.refresh import claim, grant_document, leased_path, notes, rotation, transaction
from vault_ticket_plugin.refresh.claim import ActiveClaim, Claims
from vault_ticket_plugin.refresh.journal import Entry, Journal
from vault_ticket_plugin.refresh.transaction import Transaction

Removal = Callable[[], AbstractContextManager[Any]]


class _Blind:
    """A store whose writes overwrite whatever is there."""

    def __init__(self, store: KvStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, where: Location, data: Mapping[str, Any], _cas: int | None, deadline: Deadline) -> int:
        return self._store.write(where, data, None, deadline)


def _claim_cas() -> AbstractContextManager[Any]:
    """The claim is written without check-and-set."""
    real = Claims._write_claim

    def blind(self: Claims, *how: Any) -> ActiveClaim | None:
        return real(dataclasses.replace(self, store=_Blind(self.store)), *how)

    return mock.patch.object(Claims, "_write_claim", blind)


def _look() -> AbstractContextManager[Any]:
    """The leased path is not looked at again."""
    return mock.patch.object(transaction, "somebody_may_have_finished", return_value=False)


def _absent() -> AbstractContextManager[Any]:
    """No record of a last ticket counts as if nobody had published."""
    real = notes.somebody_may_have_finished

    def trusting(grant: Grant, seen: leased_path.LeasedVersion) -> bool:
        return (grant.notes.claim is not None or grant.notes.refreshed is not None) and real(grant, seen)

    return mock.patch.object(transaction, "somebody_may_have_finished", trusting)


@contextlib.contextmanager
def _forget() -> Iterator[None]:
    """A takeover keeps the record of the ticket before."""
    real, found = Claims._write_claim, [Notes()]

    def keeping(self: Claims, grant: Grant, *how: Any) -> ActiveClaim | None:
        found[0] = grant.notes
        return real(self, grant, *how)

    def kept(**said: Any) -> Notes:
        return Notes(**{**said, "refreshed": found[0].refreshed})

    with mock.patch.object(Claims, "_write_claim", keeping), mock.patch.object(claim, "Notes", kept):
        yield


@contextlib.contextmanager
def _publish_first() -> Iterator[None]:
    """The claim is released before the ticket is published."""
    real = Transaction._publish_and_release

    def note(self: Transaction, ticket: Ticket, _seen: Any, _deadline: Any) -> Refresh:
        return Refresh(ticket.issued_at, ticket.expires_at, self.holder, ticket.access_token.fingerprint())

    def late(self: Transaction, claimed: Any, saved: Any, spent: Any, seen: Any, deadline: Deadline) -> Any:
        live = real(self, claimed, saved, spent, seen, deadline)
        with contextlib.suppress(VaultTicketError):
            leased_path.publish(self.store, self.profile, live.ticket, seen, deadline)
        return live

    with (
        mock.patch.object(Transaction, "_publish", note),
        mock.patch.object(Transaction, "_publish_and_release", late),
    ):
        yield


def _save_first() -> AbstractContextManager[Any]:
    """The ticket is published before the rotated token is saved."""
    real = Transaction._save

    def late(self: Transaction, claimed: Any, refresh_token: Any, deadline: Deadline) -> Grant | None:
        answer = _answers.pop(self, None)
        if answer is not None and answer.response.access_token is not None:
            ends = answer.started + answer.response.expires_in
            ticket = Ticket(answer.response.access_token, "Bearer", answer.started, ends)
            with contextlib.suppress(VaultTicketError):
                seen = leased_path.look(self.store, self.profile.ticket, deadline)
                leased_path.publish(self.store, self.profile, ticket, seen, deadline)
        return real(self, claimed, refresh_token, deadline)

    spend = Transaction._spend

    def kept(self: Transaction, *how: Any) -> Any:
        _answers[self] = spend(self, *how)
        return _answers[self]

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(Transaction, "_save", late))
    stack.enter_context(mock.patch.object(Transaction, "_spend", kept))
    return stack


_answers: dict[Any, Any] = {}


def _journal() -> AbstractContextManager[Any]:
    """No entry is written ahead of the save."""
    return mock.patch.object(Journal, "write")


def _replay() -> AbstractContextManager[Any]:
    """What waits on this host is not saved before something else is spent."""
    return mock.patch.object(Issuer, "_replay")


def _deadline() -> AbstractContextManager[Any]:
    """A holder sends although its claim is over."""
    real = Claims._write_claim

    def endless(self: Claims, *how: Any) -> ActiveClaim | None:
        taken = real(self, *how)
        return None if taken is None else taken._replace(ends=Deadline.after(1e6, self.clock))

    return mock.patch.object(Claims, "_write_claim", endless)


def _reseed_wins() -> AbstractContextManager[Any]:
    """A save does not look whether somebody has put another token there."""

    def save(store: KvStore, entry: Entry, known: Grant | None, deadline: Deadline) -> Grant | None:
        backoff = deadline.backoff(0.05, 0.5)
        while True:
            grant = known or rotation._read_since(store, entry, deadline)
            written = grant_document.with_token(grant, entry.refresh_token)
            try:
                return written._replace(version=store.write(entry.where, written.document, grant.version, deadline))
            except CasMismatch:
                if not backoff.sleep():
                    raise
                known = None

    return mock.patch.object(rotation, "save", save)


def _newer() -> AbstractContextManager[Any]:
    """A verdict is passed from whatever a standby shows."""

    def read(store: KvStore, entry: Entry, deadline: Deadline) -> Grant:
        return grant_document.parse(store.read(entry.where, deadline), entry.where, entry.profile)

    return mock.patch.object(rotation, "_read_since", read)


def _doubt() -> AbstractContextManager[Any]:
    """Who takes over does not note that the token may have been spent."""

    def unresolved(grant: Grant, *_: Any) -> Doubt | None:
        found = grant.notes.doubt
        return found if found is not None and found.fingerprint == grant.refresh_token.fingerprint() else None

    return mock.patch.object(claim, "unresolved_spend", unresolved)


def _carry() -> AbstractContextManager[Any]:
    """A late save does not hand the doubt on."""
    return mock.patch.object(rotation, "_doubt", return_value=None)


def _own_claim() -> AbstractContextManager[Any]:
    """A release takes away whosever claim is there."""
    real = grant_document.same_claim

    def same(one: Grant, other: Grant) -> bool:
        return sys._getframe(1).f_code.co_name == "release" or real(one, other)

    return mock.patch.object(grant_document, "same_claim", same)


SAFEGUARDS: Mapping[str, Removal] = {
    "CLAIM_CAS": _claim_cas,
    "LOOK": _look,
    "ABSENT": _absent,
    "FORGET": _forget,
    "PUBLISH_FIRST": _publish_first,
    "SAVE_FIRST": _save_first,
    "JOURNAL": _journal,
    "REPLAY": _replay,
    "DEADLINE": _deadline,
    "RESEED_WINS": _reseed_wins,
    "NEWER": _newer,
    "DOUBT": _doubt,
    "CARRY": _carry,
    "OWN_CLAIM": _own_claim,
}
