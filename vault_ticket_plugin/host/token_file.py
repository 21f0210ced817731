"""A file that always holds a valid access token, for as long as a program runs that reads it."""

from __future__ import annotations

import logging
import os
import random
import threading
from dataclasses import dataclass

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import VaultTicketError, bug
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.formats.token import text_of
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket, Windows
from vault_ticket_plugin.ports import TicketSource

log = logging.getLogger(__name__)

SUFFIX = ".bearer"
# A writer that was killed could not remove its file. A living one has written it anew by then.
STALE_SECONDS = 7 * 86400.0
# Not all hosts whose commands began together ask together: later by up to this share of the soft window.
SPREAD = 0.1
# Between two tries where a refresh fails, or another holder is at it.
BACKOFF_INITIAL, BACKOFF_MAX = 1.0, 60.0
# A machine that was suspended is noticed so soon: a thread's wait does not count that time.
MAX_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class TokenFile:
    """One profile's, for one program."""

    folder: Folder
    name: str
    source: TicketSource
    profile: str
    windows: Windows
    clock: Clock
    seconds: float
    """That one try may take."""

    @property
    def path(self) -> str:
        return os.path.join(self.folder.path, self.name)

    def write(self, ticket: Ticket) -> None:
        """Without a newline: not every reader strips one. OSError if the folder is full."""
        self.folder.write(self.name, text_of(ticket.access_token))

    def keep(self, live: LiveTicket, ended: threading.Event) -> None:
        """Ask again as the soft window begins, and so on; when `ended` is set, remove the file."""
        retry = BACKOFF_INITIAL
        try:
            pause = self._pause(live)
            while not self._wait(max(pause, 0.0), ended):
                pause = 0.0
                try:
                    found = self.source.ticket(self.profile, Demand(), Deadline.after(self.seconds, self.clock))
                    changed = found.ticket.access_token != live.ticket.access_token
                    live = found
                    if changed:
                        self.write(live.ticket)
                    pause = self._pause(live)
                except VaultTicketError as error:
                    self._warn(f"{error.message}. {error.hint}")
                except OSError as error:
                    self._warn(f"{self.path} can't be written ({(error.strerror or 'no reason given').lower()})")
                except Exception as error:  # noqa: BLE001 - the next try may work
                    self._warn(bug(error).message)

                if pause > 0:
                    retry = BACKOFF_INITIAL
                else:
                    pause = random.uniform(retry / 2, retry)  # noqa: S311 - spreads load, guards nothing
                    retry = min(retry * 2, BACKOFF_MAX)
        finally:
            self.folder.remove(self.name)

    def _pause(self, live: LiveTicket) -> float:
        """Seconds until the soft window, and a little more; 0 in it."""
        soft = self.windows.soft_for(live.ticket.lifetime)
        pause = live.left(self.clock.monotonic()) - soft
        return pause + random.uniform(0, SPREAD * soft) if pause > 0 else 0.0  # noqa: S311 - as above

    def _wait(self, seconds: float, ended: threading.Event) -> bool:
        """Whether it has ended meanwhile."""
        at = self.clock.monotonic() + seconds
        while (left := at - self.clock.monotonic()) > 0:
            if ended.wait(min(left, MAX_WAIT)):
                return True
        return ended.is_set()

    def _warn(self, what: str) -> None:
        log.warning("the token file keeps the token that it has: %s", what)
