"""A socket that gives a bare token to systemd's LoadCredential=PROFILE:/PATH of any unit (systemd.exec(5)).

The service manager connects from an abstract address that names the unit and the credential: NUL, some digits,
`/unit/`, the unit, `/`, the credential. The credential's name is the profile's.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.daemon.http_api.access import owns, peer_of
from vault_ticket_plugin.environment import is_profile_name
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.events import Event, EventSink
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.ports import TicketSource

log = logging.getLogger(__name__)

# Answered at once; others wait in the listening socket's queue. A host that boots starts many units together.
AT_ONCE = 8
BACKLOG = 256
# A unit's start is given up after 90 s (DefaultTimeoutStartSec=).
ANSWER_SECONDS = 30.0
# The other end is the service manager, which reads at once.
SEND_SECONDS = 5.0
# An empty answer would be an empty credential, and the unit would start with it. One that is larger than a credential
# may be (1 MiB) makes systemd refuse it and not start the unit.
NO_CREDENTIAL = b"\0" * ((1 << 20) + 1)


class Asker(NamedTuple):
    unit: str
    profile: str


class Credentials:
    """Serves a listening socket, which it closes at the end. `run` returns after `close`."""

    def __init__(
        self, listening: socket.socket, source: TicketSource, emit: EventSink, answer: float = ANSWER_SECONDS
    ) -> None:
        self._listening = listening
        self._source = source
        self._emit = emit
        self._answer = answer
        self._wake, self._waker = socket.socketpair()
        self._free = threading.Semaphore(AT_ONCE)
        self._closing = False

    def run(self) -> None:
        self._listening.setblocking(False)
        with (
            ThreadPoolExecutor(AT_ONCE, "credentials") as pool,
            selectors.DefaultSelector() as selector,
            self._wake,
            self._listening,
        ):
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)

            while True:
                self._free.acquire()
                selector.select()
                if self._closing:
                    return
                try:
                    connection, address = self._listening.accept()
                except OSError as error:
                    self._free.release()
                    if not isinstance(error, BlockingIOError | ConnectionError):
                        log.warning("credentials: no connection is taken: %s", error.strerror)
                        self._pause(selector)
                    continue
                pool.submit(self._serve, connection, address)

    def close(self) -> None:
        """No more connections; those that are there are answered."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")
            self._waker.close()
        self._free.release()

    def _pause(self, selector: selectors.BaseSelector) -> None:
        """Out of descriptors, as a rule: the connection waits, and we with it, though not for our end."""
        selector.unregister(self._listening)
        selector.select(1.0)
        selector.register(self._listening, selectors.EVENT_READ)

    def _serve(self, connection: socket.socket, address: object) -> None:
        try:
            with connection:
                connection.settimeout(SEND_SECONDS)
                connection.sendall(self._answer_to(connection, address))
        except OSError as error:
            log.info("credentials: the answer was not read: %s", error.strerror or "too slow")
        finally:
            self._free.release()

    def _answer_to(self, connection: socket.socket, address: object) -> bytes:
        peer = peer_of(connection)
        asker = who_asks(address)
        if peer is None or not owns(peer):
            by = peer.who if peer is not None else "nobody"
            log.warning("credentials: %s is not answered: it is no service manager of the system", by)
            self._emit(Event("hand-out", asker.profile if asker else "", "denied", by))
            return NO_CREDENTIAL
        if asker is None:
            log.warning("credentials: %s does not say which credential of which unit it wants", peer.who)
            self._emit(Event("hand-out", "", "failed", peer.who))
            return NO_CREDENTIAL

        who, profile = asker
        try:
            live = self._source.ticket(profile, Demand(), Deadline.after(self._answer))
        except VaultTicketError as error:
            log.warning("credentials: %s does not get %s: %s. %s", who, profile, error.message, error.hint)
            self._emit(Event("hand-out", profile, "failed", who, "", error.name))
            return NO_CREDENTIAL

        token = live.ticket.access_token
        self._emit(Event("hand-out", profile, "given", who, token.fingerprint()))
        return token.reveal().encode()


def who_asks(address: object) -> Asker | None:
    """None if it is no address of systemd's, or the credential's name can be no profile's."""
    if not isinstance(address, bytes) or not address.startswith(b"\0"):
        return None
    digits, unit, rest = address[1:].decode("utf-8", "replace").partition("/unit/")
    name, slash, profile = rest.rpartition("/")
    if not (digits and unit and slash and name) or not name.isprintable() or not is_profile_name(profile):
        return None
    return Asker(name, profile)


def serve(listening: socket.socket, source: TicketSource, emit: EventSink) -> Callable[[], None]:
    """Start to answer; what ends it, when all that were taken are answered."""
    credentials = Credentials(listening, source, emit)
    thread = threading.Thread(target=credentials.run, name="credentials", daemon=True)
    thread.start()

    def end() -> None:
        credentials.close()
        thread.join(ANSWER_SECONDS + SEND_SECONDS)

    return end
