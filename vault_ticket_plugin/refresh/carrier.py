"""Who carries a spend. It is a job that callers wait for, never a part of its caller: a caller that is interrupted,
killed or out of patience leaves, and the job goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import Busy
from vault_ticket_plugin.model import LiveTicket


class Waiter(Protocol):
    """The one whom a job is done for, as the job sees it."""

    def gone(self) -> bool:
        """Whether nobody waits any more. A job that has changed nothing yet then ends."""

    def commit(self) -> None:
        """From here on the job goes to its own end, whoever is there: it is about to claim, or to spend."""


class Request(NamedTuple):
    """A request that may be under way, as its sender noted it in the lock's file."""

    fingerprint: str
    """Of the refresh token in it."""
    ends: float
    """By `Clock.monotonic()` of this boot."""


class Held(Protocol):
    """The host's lock, taken (host/lock.py). A claim that names it was made by a job of this host that has ended, since
    we have the lock now."""

    def name(self) -> str:
        """Empty if it can't be told from another's: no claim then names it."""

    def request(self) -> Request | None:
        """The last one noted, unless it was crossed out."""

    def note_request(self, request: Request | None) -> None:
        """Before it is sent; None crosses it out. OSError if that can't be written: then nothing may be sent."""

    def close(self) -> None:
        """Give this process's hold on it up."""


T = TypeVar("T", bound=LiveTicket | None)
Job = Callable[[Waiter], T]
"""A ticket, or nothing, is all that comes of one."""


class Carrier(Protocol):
    """Two of them: a process for one-shot commands (host/detached.py), a thread for programs that stay
    (host/background.py)."""

    def carry(self, job: Job[T], lock: Held | None, patience: Deadline) -> T:
        """What the job returns, or the error of ours that it raises.

        The lock is the job's from now on, and free before this returns. Busy if the patience is over first: the job
        goes on. SpendEnded if it was ended from outside, without a word.
        """

    def finish(self) -> None:
        """Wait for what is still to be done once the caller has what it came for; not for long."""


def goes_on() -> Busy:
    """The caller's patience is over, and the job goes on."""
    return Busy(
        "the refresh takes longer than this call may wait", "It goes on by itself: the next call finds its ticket."
    )


class Patient:
    """`Waiter` of a job that is done in place: it is there to the end."""

    def gone(self) -> bool:
        return False

    def commit(self) -> None:
        pass


class InPlace:
    """`Carrier` for where there can be no other: the caller's own thread."""

    def carry(self, job: Job[T], lock: Held | None, patience: Deadline) -> T:  # noqa: ARG002 - it is the job
        try:
            return job(Patient())
        finally:
            if lock is not None:
                lock.close()

    def finish(self) -> None:
        pass
