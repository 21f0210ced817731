"""The daemon's life: from its configuration to its last answer. Signals: SIGHUP reads the configuration again,
SIGTERM and SIGINT end it once what is under way is finished."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Callable, MutableMapping
from types import FrameType
from typing import Literal, NamedTuple

from vault_ticket_plugin import config
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.daemon.audit import Audit
from vault_ticket_plugin.daemon.hooks import Hooks
from vault_ticket_plugin.daemon.keeper import ROUND_LONGEST, Change, Keeper
from vault_ticket_plugin.daemon.metrics import Metrics
from vault_ticket_plugin.daemon.parts import Parts
from vault_ticket_plugin.daemon.systemd import Notifier
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.settings import DaemonSettings, Settings

log = logging.getLogger(__name__)

# Between two looks at how all is going: for the status line, and for parts that are no longer in use.
TICK = 5.0
# Between two looks at what is to be kept up, and between two tries to bring a journal into Vault.
STEP, REPLAY_EVERY = 1.0, 15.0
# What can't be changed while listening.
FIXED = ("listen", "socket_mode", "credentials", "workers", "rate", "audit")

Word = Literal["stop", "reload"]


class Retired(NamedTuple):
    """Parts of an earlier configuration; what is under way with them has ended by `at` (monotonic)."""

    parts: Parts
    at: float


class Service:
    """`run` it once, in the main thread: it takes the signals."""

    def __init__(self, environ: MutableMapping[str, str], clock: Clock = HOST_CLOCK) -> None:
        self._environ = environ
        self._clock = clock
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()  # its `put` may be called in a signal handler
        self._ended = threading.Event()
        self._notifier = Notifier(environ)
        self._settings = config.load(environ)
        self._daemon: DaemonSettings = self._settings.daemon
        self.metrics = Metrics()
        self._audit = Audit(self._daemon.audit, self.metrics.audit_dropped) if self._daemon.audit else None
        self._hooks = Hooks(self._daemon.hooks, self._daemon.hook_timeout, environ, self.metrics.hook)
        self.keeper = Keeper(self._daemon.workers, clock, self._changed)
        self._parts = self._made(self._settings)
        self._retired: list[Retired] = []
        self._install(self._parts)

    # -- who is told

    def tell(self, event: Event) -> None:
        self.metrics.tell(event)
        if self._audit is not None:
            self._audit.tell(event)

    def _changed(self, change: Change) -> None:
        self._hooks.tell(change)

    # -- the configuration

    def _made(self, settings: Settings) -> Parts:
        return Parts(
            settings,
            self._environ,
            clock=self._clock,
            tell=self.tell,
            vault_seconds=self.metrics.vault_seconds,
            endpoint_seconds=self.metrics.endpoint_seconds,
        )

    def _install(self, parts: Parts) -> None:
        settings = parts.settings
        self.keeper.replace(
            {name: (profile, settings.identity(profile)) for name, profile in parts.profiles.items()}, parts.issue
        )

    def reload(self) -> None:
        """Take the configuration as it is now; one that is wrong is told and changes nothing."""
        self._notifier.reloading()
        try:
            settings = config.load(self._environ)
            parts = self._made(settings)
            _ = parts.issuers
        except VaultTicketError as error:
            log.warning("the configuration is not taken, the old one stays: %s. %s", error.message, error.hint)
        else:
            for name in FIXED:
                if getattr(settings.daemon, name) != getattr(self._daemon, name):
                    log.warning("[daemon] %s has changed: that takes a restart", name)
            self._hooks.replace(settings.daemon.hooks, settings.daemon.hook_timeout)
            old, self._parts = self._parts, parts
            self._install(parts)
            self._retired.append(Retired(old, self._clock.monotonic() + ROUND_LONGEST))
            log.info("the configuration is taken: %s", self.status())
        if self._audit is not None:
            self._audit.reopen()
        self._notifier.ready(self.status())

    # -- its life

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on("stop"))
        signal.signal(signal.SIGINT, self._on("stop"))
        signal.signal(signal.SIGHUP, self._on("reload"))
        work = [
            threading.Thread(target=self.keeper.run, args=(self._ended,), name="schedule"),
            threading.Thread(target=self._upkeep, name="upkeep"),
            threading.Thread(target=self._notifier.watch, args=(self.keeper.alive, self._ended), name="watchdog"),
        ]
        try:
            for thread in work:
                thread.start()
            self._notifier.ready(self.status())
            log.info("at work: %s", self.status())
            while self._next_word() != "stop":
                self._tick()
        finally:
            self._notifier.stopping(ROUND_LONGEST, "finishing what is under way")
            self.keeper.stop(self._ended)
            for thread in work:
                thread.join()
            self._hooks.close()
            for one in (*self._retired, Retired(self._parts, 0.0)):
                one.parts.close()
            if self._audit is not None:
                self._audit.close()

    def once(self) -> dict[str, VaultTicketError]:
        """Look after each profile once; what failed."""
        try:
            return self.keeper.once()
        finally:
            self._hooks.close()
            self._parts.close()
            if self._audit is not None:
                self._audit.close()

    def status(self) -> str:
        """One line: how many profiles, how many of them with a usable ticket, how many fail."""
        states = self.keeper.states().values()
        usable = sum(1 for state in states if state.left > 0)
        failing = sum(1 for state in states if state.standing in ("failing", "dead"))
        return f"{usable} of {len(states)} profiles have a usable ticket" + (f", {failing} fail" if failing else "")

    def journal_waiting(self) -> int:
        return self._parts.journal_waiting()

    def _next_word(self) -> Word | None:
        try:
            return self._words.get(timeout=TICK)
        except queue.Empty:
            return None

    def _tick(self) -> None:
        now = self._clock.monotonic()
        for one in [one for one in self._retired if one.at <= now]:
            self._retired.remove(one)
            one.parts.close()
        self._notifier.status(self.status())

    def _upkeep(self) -> None:
        """Our own Vault token, and what waits in the journal."""
        from vault_ticket_plugin.vault.upkeep import keep_token

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

    def _on(self, word: Word) -> Callable[[int, FrameType | None], None]:
        def put(_number: int, _frame: FrameType | None) -> None:
            self._words.put(word)

        return put
