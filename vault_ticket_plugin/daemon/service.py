"""The daemon's life: from its configuration to its last answer. Signals: SIGHUP reads the configuration again,
SIGTERM and SIGINT end it once what is under way is finished."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import socket
import threading
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import Literal, NamedTuple

from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.daemon import systemd, systemd_credentials
from vault_ticket_plugin.daemon.audit import Audit
from vault_ticket_plugin.daemon.hooks import Hooks
from vault_ticket_plugin.daemon.http_api import access, sockets
from vault_ticket_plugin.daemon.http_api.app import HttpApi
from vault_ticket_plugin.daemon.http_api.server import Server
from vault_ticket_plugin.daemon.keeper import ROUND_SECONDS, Keeper
from vault_ticket_plugin.daemon.metrics import Metrics
from vault_ticket_plugin.daemon.wiring import DaemonWiring
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.daemon import DaemonSettings, Listener
from vault_ticket_plugin.settings.load import Settings, load_settings

log = logging.getLogger(__name__)

# Between two looks at how all is going: for the status line, and for parts that are no longer in use.
TICK = 5.0
# Between two looks at what is to be kept up, and between two tries to bring a journal into Vault.
STEP, REPLAY_EVERY = 1.0, 15.0
# What can't be changed while it runs.
FIXED = ("listen", "socket_mode", "credentials", "workers", "audit")
# Where nothing goes on after it, --once waits so long for the hooks of what it found.
HOOKS_SECONDS = 60.0
# The file mode of the credentials' socket. The kernel names its callers as well, who must be root or we.
CREDENTIALS_MODE = 0o600
# For answers that are under way at the end.
ANSWER_SECONDS = 10.0

Word = Literal["stop", "reload"]
WORDS: Mapping[int, Word] = {signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGHUP: "reload"}


class OldWiring(NamedTuple):
    """Parts of an earlier configuration, and what is under way with them."""

    parts: DaemonWiring
    at: float
    """When that has ended, by the monotonic clock."""


class Service:
    """`run` it once, in the main thread: it takes the signals."""

    def __init__(self, environ: MutableMapping[str, str], clock: Clock = HOST_CLOCK) -> None:
        self._environ = environ
        self._clock = clock
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()  # its `put` may be called in a signal handler
        self._ended = threading.Event()
        self._notifier = systemd.Notifier(environ)

        self._settings = load_settings(environ)
        self._daemon: DaemonSettings = self._settings.daemon
        self.metrics = Metrics()
        self._audit = Audit(self._daemon.audit, self.metrics.audit_dropped) if self._daemon.audit else None
        self._hooks = Hooks(self._daemon.hooks, self._daemon.hook_timeout, environ, self.metrics.hook)

        self.keeper = Keeper(self._daemon.workers, clock, self._hooks.emit)
        self._parts = self._made(self._settings)
        self._server: Server | None = None
        self._retired: list[OldWiring] = []
        self._install(self._parts)
        self._web = HttpApi(
            self.keeper, self.emit, self._metrics_text, check=self._check, rate=self._daemon.rate, clock=clock
        )

    # -- who is informed

    def emit(self, event: Event) -> None:
        self.metrics.emit(event)
        if self._audit is not None:
            self._audit.emit(event)

    def _metrics_text(self) -> bytes:
        return self.metrics.text(self.keeper.states(), self._parts.journal_waiting())

    def _check(self, token: Secret, where: Location, deadline: Deadline) -> access.Caller | None:
        return access.vault_authorizer(self._parts.session)(token, where, deadline)

    # -- the configuration

    def _made(self, settings: Settings) -> DaemonWiring:
        """ConfigError if they can't be made. Threads find what they share already there."""
        parts = DaemonWiring(
            settings,
            self._environ,
            clock=self._clock,
            emit=self.emit,
            vault_seconds=self.metrics.vault_seconds,
            endpoint_seconds=lambda _call, seconds, worked: self.metrics.endpoint_seconds(seconds, worked),
        )
        _ = parts.store, parts.issuers
        return parts

    def _install(self, parts: DaemonWiring) -> None:
        settings = parts.settings
        self.keeper.replace(
            {name: (profile, settings.ticket_key(profile)) for name, profile in parts.profiles.items()}, parts
        )

    def reload(self) -> None:
        """Take the configuration as it is now; one that is wrong is reported and changes nothing."""
        self._notifier.reloading()
        try:
            settings = load_settings(self._environ)
            parts = self._made(settings)
        except VaultTicketError as error:
            log.warning("the configuration is not taken, the old one stays: %s. %s", error.message, error.hint)
        else:
            for name in FIXED:
                if getattr(settings.daemon, name) != getattr(self._daemon, name):
                    log.warning("[daemon] %s has changed: that takes a restart", name)

            self._hooks.replace(settings.daemon.hooks, settings.daemon.hook_timeout)
            old, self._parts = self._parts, parts
            for profile in parts.profiles.values():
                parts.cache(profile).forget()  # so that Vault is asked: what it had may have been revoked
            self._install(parts)
            self._web.replace(self._check, settings.daemon.rate)

            # Whatever is under way still uses the old ones.
            self._retired.append(OldWiring(old, self._clock.monotonic() + ROUND_SECONDS + old.claim_seconds))
            log.info("the configuration is taken: %s", self.status())

        if self._audit is not None:
            self._audit.reopen()
        self._notifier.ready(self.status())

    # -- its life

    def run(self) -> None:
        """Until SIGTERM or SIGINT. ConfigError if it can't listen."""
        for number in WORDS:
            signal.signal(number, self._on_signal)

        work = [
            threading.Thread(target=self.keeper.run, args=(self._ended,), name="schedule"),
            threading.Thread(target=self._upkeep, name="upkeep"),
            threading.Thread(target=self._notifier.watch, args=(self.keeper.alive, self._ended), name="watchdog"),
        ]
        with contextlib.ExitStack() as ends:  # it undoes the last step first
            ends.callback(self._close)
            ends.callback(self.keeper.wait_until_idle, ROUND_SECONDS)  # for what hand-outs have asked for
            self._listen(ends)
            for thread in work:
                thread.start()
                ends.callback(thread.join)
            ends.callback(self.keeper.stop, self._ended)

            self._notifier.ready(self.status())
            log.info("at work; profiles: %d", len(self._parts.profiles))

            while (word := self._next_word()) != "stop":
                if word == "reload":
                    self.reload()
                self._tick()

            longest = ROUND_SECONDS + self._parts.claim_seconds + ANSWER_SECONDS
            self._notifier.stopping(longest, "finishing what is under way")
            log.info("finishing what is under way")

    def _listen(self, ends: contextlib.ExitStack) -> None:
        """On what systemd hands over, and on what the configuration names beside that."""
        given: dict[str, list[socket.socket]] = {}
        for name, one in systemd.inherited(self._environ):
            given.setdefault(name, []).append(one)

        listening = [
            sockets.ListeningSocket.given(Listener(path=str(one.getsockname())), one) for one in given.get("http", [])
        ]
        taken = {one.listener.path for one in listening}
        for listener in self._daemon.listen:
            if not listener.path or listener.path not in taken:
                listening.append(sockets.listen(listener, self._daemon.socket_mode))

        if listening:
            self._server = Server(self._web, listening)
            self._server.start()
            ends.callback(self._server.stop, ANSWER_SECONDS)
        for each in listening:
            log.info("listening on %s", each.listener)

        for made in given.get("credentials", []):
            ends.callback(systemd_credentials.serve(made, self.keeper, self.emit))
        if self._daemon.credentials and not given.get("credentials"):
            own = sockets.listen(Listener(path=self._daemon.credentials), CREDENTIALS_MODE)
            ends.callback(own.close)
            ends.callback(systemd_credentials.serve(own.socket, self.keeper, self.emit))

    def _close(self) -> None:
        self._hooks.close()
        for one in (*self._retired, OldWiring(self._parts, 0.0)):
            one.parts.close()
        if self._audit is not None:
            self._audit.close()

    def once(self) -> dict[str, VaultTicketError]:
        """Look after each profile once; what failed."""
        try:
            return self.keeper.once()
        finally:
            self._hooks.finish(HOOKS_SECONDS)
            self._close()

    def status(self) -> str:
        """One line: how many profiles, how many of them with a usable ticket, how many fail."""
        states = self.keeper.states().values()
        usable = sum(1 for state in states if state.left > 0)
        failing = sum(1 for state in states if state.standing in ("failing", "dead"))
        return f"{usable} of {len(states)} profiles have a usable ticket" + (f", {failing} fail" if failing else "")

    def _next_word(self) -> Word | None:
        try:
            return self._words.get(timeout=TICK)
        except queue.Empty:
            return None

    def _tick(self) -> None:
        if self._server is not None and not self._server.alive:
            # Whoever starts us anew does more for the callers than a daemon that nobody can ask.
            raise VaultTicketError("the HTTP server has ended by itself", "Its last words are in the log above.")
        now = self._clock.monotonic()
        for one in [one for one in self._retired if one.at <= now]:
            self._retired.remove(one)
            one.parts.close()
        self._notifier.status(self.status())

    def _upkeep(self) -> None:
        """Our own Vault token, and what waits in the journal."""
        from vault_ticket_plugin.vault.token_renewal import keep_token

        parts, token_at, replay_at = self._parts, 0.0, 0.0
        while not self._ended.wait(STEP):
            now = self._clock.monotonic()
            if parts is not self._parts:
                parts, token_at = self._parts, now
            if token_at <= now:
                token_at = now + keep_token(parts.session, Deadline.after(TICK, self._clock))
            if replay_at <= now:
                parts.replay(Deadline.after(TICK, self._clock))
                replay_at = self._clock.monotonic() + REPLAY_EVERY

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._words.put(WORDS[number])
