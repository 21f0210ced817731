"""Tickets and failures remembered on this host, in the runtime folder."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vault_ticket_plugin import environment, errors, formats, warm
from vault_ticket_plugin.clock import Clock
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.model import CLOCK_STEP, Ticket, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# The cooldown after a failure, doubling from one to the other, jittered. An agent was seen to run a failing
# plugin 240 times a second.
COOLDOWN_INITIAL, COOLDOWN_MAX = 1.0, 60.0
# A server's Retry-After may be longer than that; longer than an hour nobody is kept from asking.
MAX_RETRY_AFTER = 3600.0


class Cached(NamedTuple):
    """`now`: Vault's time, as this host makes it out from when the entry was written."""

    ticket: Ticket
    now: float


class Failure(NamedTuple):
    """`error` as it was raised; asked again in `seconds`."""

    error: VaultTicketError
    seconds: float


class _Last(NamedTuple):
    """The last failure: how long ago, how long its cooldown is, how many times in a row, and what it was."""

    age: float
    span: float
    times: int
    error: VaultTicketError


@dataclass(frozen=True, slots=True)
class Cache:
    """What one profile's calls remember. Without a folder, nothing.

    `identity` fingerprints everything that decides which ticket it is; `config_version` and `signature` tell the warm path under
    which configuration file and environment an entry was made.
    """

    folder: Folder | None
    profile: str
    identity: str
    config_version: str
    signature: str
    clock: Clock
    tickets: bool = True

    @property
    def _name(self) -> str:
        return warm.entry_name(self.profile, self.signature)

    @property
    def _failure_name(self) -> str:
        return f"{self.profile}-{self.identity}.failure"

    def ticket(self) -> Cached | None:
        """The remembered ticket, fresh or not; None where there is none, or one that can't be trusted."""
        if self.folder is None or not self.tickets:
            return None
        try:
            lines = (self.folder.read(self._name) or "").split("\n")
            if lines[0] != warm.MAGIC or lines[3] != self.identity:
                return None
            wall, monotonic, _fresh, _usable, then = (float(part) for part in lines[4].split(" "))
            plain = json.loads(lines[5])
            ticket = Ticket(
                Secret(str(plain["access_token"])),
                str(plain["token_type"]),
                float(plain["issued_at"]),
                float(plain["expires_at"]),
            )
            if not all(map(math.isfinite, (wall, monotonic, then, ticket.issued_at, ticket.expires_at))):
                raise ValueError("a time that is none")
        except (OSError, ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
            log.info("a cached ticket is passed over: %s", type(error).__name__)
            return None
        ages = self.clock.wall() - wall, self.clock.monotonic() - monotonic
        return None if min(ages) < 0 else Cached(ticket, then + max(ages))

    def put(self, ticket: Ticket, now: float, windows: Windows, fresh: bool = True) -> None:
        """Remember a ticket. `fresh` False: usable, but not to be handed out without another look."""
        if self.folder is None or not self.tickets or not ticket.usable(now):
            return
        left = ticket.left(now)
        until_soft = left - windows.soft_for(ticket.lifetime) if fresh else 0.0
        times = (self.clock.wall(), self.clock.monotonic(), max(0.0, until_soft), left - CLOCK_STEP, now)
        plain = {
            "access_token": ticket.access_token.reveal(),
            "token_type": ticket.token_type,
            "issued_at": ticket.issued_at,
            "expires_at": ticket.expires_at,
        }
        context = FormatContext(Profile.standard(self.profile))
        lines = [
            *(warm.MAGIC, self.config_version, self.signature, self.identity),
            " ".join(repr(one) for one in times),
            json.dumps(plain),
            *(f"{name}\t{formats.load(name).render(ticket, context)}" for name in formats.CACHEABLE),
        ]
        self._write(self._name, "\n".join(lines) + "\n")

    def forget(self) -> None:
        """Forget the profile's tickets and failures under any login, as after `store` and `revoke`."""
        if self.folder is not None:
            for name in self.folder.names():
                if name.rpartition("-")[0] == self.profile and name.endswith((".ticket", ".failure")):
                    self.folder.remove(name)

    def failure(self) -> Failure | None:
        """The failure whose cooldown is not over yet."""
        last = self._last_failure()
        return None if last is None or last.age >= last.span else Failure(last.error, last.span - last.age)

    def remember(self, error: VaultTicketError) -> None:
        """Begin or lengthen the cooldown."""
        last = self._last_failure()
        count = 0
        if last is not None and last.age < last.span + COOLDOWN_MAX:
            count = last.times  # failed again soon after
        span = min(COOLDOWN_MAX, COOLDOWN_INITIAL * 2.0 ** min(count, 16))
        span *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        span = max(span, min(getattr(error, "retry_after", None) or 0.0, MAX_RETRY_AFTER))
        plain = {
            "kind": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "code": getattr(error, "code", ""),
            "count": count + 1,
            "wall": self.clock.wall(),
            "monotonic": self.clock.monotonic(),
            "span": span,
        }
        self._write(self._failure_name, json.dumps(plain))

    def clear_failure(self) -> None:
        if self.folder is not None:
            self.folder.remove(self._failure_name)

    def _last_failure(self) -> _Last | None:
        if self.folder is None:
            return None
        try:
            plain = json.loads(self.folder.read(self._failure_name) or "null")
            ages = self.clock.wall() - plain["wall"], self.clock.monotonic() - plain["monotonic"]
            error = getattr(errors, plain["kind"])(str(plain["message"]), str(plain["hint"]))
            if hasattr(error, "code"):
                error.code = str(plain.get("code", ""))
            last = _Last(max(ages), float(plain["span"]), int(plain["count"]), error)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        sound = isinstance(error, VaultTicketError) and 0 <= last.span <= MAX_RETRY_AFTER
        return last if sound and min(ages) >= 0 and last.times >= 0 else None

    def _write(self, name: str, text: str) -> None:
        if self.folder is None:
            return
        try:
            self.folder.write(name, text)
        except OSError as error:
            log.info("nothing is remembered: %s", error.strerror)


def open_runtime(environ: Mapping[str, str]) -> Folder | None:
    """The runtime folder, or None (with a line in the log) where there is none that is safe to use."""
    path = environment.runtime_path(environ)
    try:
        return Folder(path)
    except FolderUnusable as error:
        log.warning("nothing is remembered between calls: %s", error)
    except OSError as error:  # a read-only system, say: slower, not wrong
        log.info("nothing is remembered between calls: %s (%s)", path, error.strerror)
    return None
