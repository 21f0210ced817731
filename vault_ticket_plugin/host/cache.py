"""Tickets and failures remembered on this host, in the runtime folder."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vault_ticket_plugin import environment, formats, warm
from vault_ticket_plugin.clock import Clock
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.model import CLOCK_STEP, LiveTicket, Ticket, Windows
from vault_ticket_plugin.refresh.retry import COOLDOWN_INITIAL, COOLDOWN_MAX, MAX_RETRY_AFTER
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Between two looks at the leased path while a failure of the token endpoint is remembered.
LOOK_SECONDS = 1.0


class LastFailure(NamedTuple):
    """The last failure, and its cooldown."""

    error: VaultTicketError
    age: float
    span: float
    """Seconds that its cooldown lasts."""
    times: int
    """How many there were in a row."""


@dataclass(frozen=True, slots=True)
class Cache:
    """What one profile's calls remember. Without a folder, nothing."""

    folder: Folder | None
    profile: str
    ticket_key: str
    """Fingerprints everything that decides which ticket it is."""
    config_version: str
    """Tells the warm path under which state of the configuration file an entry was made; and …"""
    environment_key: str
    """… under which environment."""
    clock: Clock
    tickets: bool = True
    """Whether tickets are remembered, or failures only."""

    @property
    def _name(self) -> str:
        return warm.entry_name(self.profile, self.environment_key)

    @property
    def _failure_name(self) -> str:
        return f"{self.profile}-{self.ticket_key}.failure"

    @property
    def _look_name(self) -> str:
        return f"{self.profile}-{self.ticket_key}.look"

    # -- tickets

    def ticket(self) -> LiveTicket | None:
        """The remembered ticket, fresh or not; None if there is none, or one that can't be trusted."""
        if self.folder is None or not self.tickets:
            return None
        try:
            lines = (self.folder.read(self._name) or "").split("\n")
            if lines[0] != warm.MAGIC or lines[3] != self.ticket_key:
                return None
            wall, monotonic, _fresh, _usable, then = (float(part) for part in lines[4].split(" "))
            plain = json.loads(lines[5])
            ticket = ticket_from_plain(plain)
            if not all(map(math.isfinite, (wall, monotonic, then, ticket.issued_at, ticket.expires_at))):
                raise ValueError("a time that is none")
            problem = VaultTicketError.from_plain(plain["problem"]) if plain.get("problem") else None
            unpublished = None if plain.get("unpublished") is None else int(plain["unpublished"])
        except (OSError, ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
            log.info("a cached ticket is passed over: %s", type(error).__name__)
            return None

        now = self.clock.monotonic()
        ages = self.clock.wall() - wall, now - monotonic
        if min(ages) < 0:
            return None
        return LiveTicket.at(ticket, then + max(ages), now)._replace(problem=problem, unpublished=unpublished)

    def put(self, live: LiveTicket, windows: Windows) -> None:
        """Remember a ticket. One that is not published, or has a problem, takes another look."""
        ticket, now = live.ticket, self.clock.monotonic()
        if self.folder is None or not self.tickets or not live.usable(now):
            return

        left = live.left(now)
        settled = live.unpublished is None and live.problem is None
        until_soft = left - windows.soft_for(ticket.lifetime) if settled else 0.0
        times = (self.clock.wall(), now, max(0.0, until_soft), left - CLOCK_STEP, live.vault_time(now))

        plain = ticket_to_plain(ticket) | {
            "unpublished": live.unpublished,
            "problem": None if live.problem is None else live.problem.to_plain(),
        }
        told = live.for_host(self.clock.wall(), now)
        nothing_else = FormatContext(Profile.standard(self.profile))
        lines = [
            *(warm.MAGIC, self.config_version, self.environment_key, self.ticket_key),
            " ".join(repr(one) for one in times),
            json.dumps(plain),
            *(f"{name}\t{formats.load(name).render(told, nothing_else)}" for name in formats.CACHEABLE),
        ]
        self._write(self._name, "\n".join(lines) + "\n")

    def forget(self) -> None:
        """Forget the profile's tickets and failures under any login, as after `store` and `revoke`."""
        if self.folder is not None:
            for name in self.folder.names():
                if name.rpartition("-")[0] == self.profile and name.endswith((".ticket", ".failure", ".look")):
                    self.folder.remove(name)

    # -- failures

    def failure(self) -> VaultTicketError | None:
        """The failure whose cooldown is not over yet, as it was raised; it tells for how long it is remembered."""
        last = self._last_failure()
        if last is None or last.age >= last.span:
            return None
        error = last.error
        error.remembered_for = last.span - last.age
        if error.retry_after is not None:
            error.retry_after = max(0.0, error.retry_after - last.age)
        return error

    def look_is_due(self) -> bool:
        """Whether nobody on this host has looked at Vault for a second, in spite of a failure that is remembered.

        A caller in a loop then costs Vault one read a second. Where nothing is remembered each call looks.
        """
        if self.folder is None or not self.tickets:
            return True
        try:
            age = self.clock.monotonic() - float(self.folder.read(self._look_name) or "-inf")
        except (OSError, ValueError):
            age = LOOK_SECONDS
        if 0 <= age < LOOK_SECONDS:
            return False
        self._write(self._look_name, repr(self.clock.monotonic()))
        return True

    def remember(self, error: VaultTicketError) -> None:
        """Begin or lengthen the cooldown."""
        last, times = self._last_failure(), 0
        if last is not None and last.age < last.span + COOLDOWN_MAX:
            times = last.times  # failed again soon after

        span = min(COOLDOWN_MAX, COOLDOWN_INITIAL * 2.0 ** min(times, 16))
        span *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        span = max(span, min(error.retry_after or 0.0, MAX_RETRY_AFTER))

        plain = {
            "error": error.to_plain(),
            "count": times + 1,
            "wall": self.clock.wall(),
            "monotonic": self.clock.monotonic(),
            "span": span,
        }
        self._write(self._failure_name, json.dumps(plain))

    def clear_failure(self) -> None:
        if self.folder is not None:
            self.folder.remove(self._failure_name)

    def _last_failure(self) -> LastFailure | None:
        if self.folder is None:
            return None
        try:
            plain = json.loads(self.folder.read(self._failure_name) or "null")
            ages = self.clock.wall() - plain["wall"], self.clock.monotonic() - plain["monotonic"]
            error = VaultTicketError.from_plain(plain["error"])
            last = LastFailure(error, max(ages), float(plain["span"]), int(plain["count"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        sound = 0 <= last.span <= MAX_RETRY_AFTER and min(ages) >= 0 and last.times >= 0
        return last if sound else None

    def _write(self, name: str, text: str) -> None:
        if self.folder is None:
            return
        try:
            self.folder.write(name, text)
        except OSError as error:
            log.info("nothing is remembered: %s", error.strerror)


def ticket_to_plain(ticket: Ticket) -> dict[str, str | float]:
    """As JSON has it, for another process of this user; `ticket_from_plain` reads it back."""
    return {
        "access_token": ticket.access_token.reveal(),
        "token_type": ticket.token_type,
        "issued_at": ticket.issued_at,
        "expires_at": ticket.expires_at,
    }


def ticket_from_plain(plain: Mapping[str, Any]) -> Ticket:
    """ValueError, KeyError or TypeError if it is no such thing."""
    return Ticket(
        Secret(str(plain["access_token"])),
        str(plain["token_type"]),
        float(plain["issued_at"]),
        float(plain["expires_at"]),
    )


def open_runtime(environ: Mapping[str, str]) -> Folder | None:
    """The runtime folder, or None (with a line in the log) if there is none that is safe to use."""
    path = environment.runtime_path(environ)
    try:
        return Folder(path)
    except FolderUnusable as error:
        log.warning("nothing is remembered between calls: %s", error)
    except OSError as error:  # a read-only system, say: slower, not wrong
        log.info("nothing is remembered between calls: %s (%s)", path, error.strerror)
    return None
