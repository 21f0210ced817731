"""Hosts: clocks, users' environments, folders, programs; and the real code, wired as wiring.py wires it.

All that touches how the parts are made stands here: who calls what is in `calls.py`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import secrets
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import vault_ticket_plugin.folder
import vault_ticket_plugin.host.lock
import vault_ticket_plugin.wiring
from tests.simulation.actors import Actor, Process
from tests.simulation.files import SimulatedFcntl, SimulatedOs, remove_folder
from tests.simulation.scheduler import START, Scheduler
from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.daemon.wiring import DaemonWiring
from vault_ticket_plugin.settings.load import Settings, load_settings
from vault_ticket_plugin.transport.exchange import Transport
from vault_ticket_plugin.wiring import Wiring

# What a host's boot clock shows as the run begins.
UPTIME = 1000.0
# Where the folders are: in memory, as the runtime folder is.
MEMORY = "/dev/shm"


class SimulatedClock(Clock):
    """A host's clocks. Its boot clock counts while it is suspended, and is never set."""

    def __init__(self, scheduler: Scheduler, boot: float) -> None:
        self._scheduler = scheduler
        self._boot = boot
        self.skew = 0.0
        """Seconds that the wall clock is ahead; a step changes it."""

    def wall(self) -> float:
        return self._scheduler.now + self.skew

    def monotonic(self) -> float:
        return self._scheduler.now - START + self._boot

    def sleep(self, seconds: float) -> None:
        self._scheduler.pause("sleep", self._scheduler.now + seconds)

    def in_world(self, moment: float) -> float:
        """A moment of the boot clock, as the world's time."""
        return moment + START - self._boot


@dataclass(eq=False)
class Host:
    """One machine. `wakes`: it is suspended until then."""

    name: str
    root: Path
    clock: SimulatedClock
    wakes: float = START
    late: float = 0.0
    """Seconds that each of Vault's answers takes to it."""
    pids: int = 100
    config: str = ""
    """The text of its configuration file."""
    processes: list[Process] = field(default_factory=list)
    daemons: dict[str, Daemon] = field(default_factory=dict)
    settings: dict[tuple[str, str], Settings] = field(default_factory=dict)

    def folder(self, session: str, kind: str) -> Path:
        """A login session's or a service's runtime folder (`run`); the user's state folder is the same for all."""
        return self.root / (f"{kind}-{session}" if kind == "run" else kind)

    def process(self) -> Process:
        self.pids += 1
        made = Process(self.pids, self)
        self.processes.append(made)
        return made

    def end(self, process: Process, actors: list[Actor]) -> None:
        """The kernel's part of a process's end: no thread of it goes on, its descriptors are closed."""
        for actor in actors:
            if actor.process is process and not actor.done:
                actor.dead = True
        for fd in sorted(process.descriptors):
            with contextlib.suppress(OSError):
                os.close(fd)
        process.descriptors.clear()
        if process in self.processes:
            self.processes.remove(process)
        self.daemons = {name: one for name, one in self.daemons.items() if one.process is not process}

    def environ(self, session: str, address: str) -> dict[str, str]:
        """Of a login session, or of a service that systemd gives a folder."""
        found = {
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "VAULT_ADDR": address,
            "VAULT_TICKET_CONFIG": str(self.root / "config.toml"),
        }
        run = str(self.folder(session, "run"))
        return found | ({"RUNTIME_DIRECTORY": run} if session == "cron" else {"XDG_RUNTIME_DIR": run})

    def write_config(self, text: str) -> None:
        self.config = text
        (self.root / "config.toml").write_text(text)
        self.settings.clear()

    def loaded(self, environ: Mapping[str, str]) -> Settings:
        """The settings as the real loader reads them; once for each state of the file."""
        key = environ["VAULT_ADDR"], environ.get("VAULT_TOKEN", "")
        if key not in self.settings:
            self.settings[key] = load_settings(environ)
        return self.settings[key]

    def log_out(self, session: str) -> None:
        """The last of the user's sessions ends: its runtime folder goes."""
        remove_folder(str(self.folder(session, "run")))


@dataclass(eq=False)
class Daemon:
    """A program that stays: what it has in memory lives as long as its process."""

    process: Process
    close: Callable[[], None]
    look_after: Callable[[str], object]


def wired(host: Host, environ: Mapping[str, str], cached: bool = True) -> contextlib.AbstractContextManager[Wiring]:
    """As `wiring.wired`, by this host's clock."""

    @contextlib.contextmanager
    def made() -> Iterator[Wiring]:
        wiring = Wiring(host.loaded(environ), environ, cached, clock=host.clock)
        try:
            yield wiring
        finally:
            wiring.close()

    return made()


def deadline(host: Host, seconds: float, last: float | None = None) -> Deadline:
    return Deadline.after(seconds, host.clock, last=float("inf") if last is None else last)


def in_world(one: Deadline) -> float:
    assert isinstance(one.clock, SimulatedClock), "a deadline by another clock than the host's"
    return one.clock.in_world(one.at)


@contextlib.contextmanager
def simulated(scheduler: Scheduler, exchange: Callable[..., object]) -> Iterator[None]:
    """While it lasts our modules have simulated system calls, network, randomness and names."""
    calls = SimulatedOs(scheduler)
    sockets = types.SimpleNamespace(gethostname=lambda: _host_name(scheduler))
    before = random.getstate()
    random.seed(f"our own {scheduler.chance.random()}")
    try:
        with (
            mock.patch.object(vault_ticket_plugin.folder, "os", calls),
            mock.patch.object(vault_ticket_plugin.host.lock, "os", calls),
            mock.patch.object(vault_ticket_plugin.host.lock, "fcntl", SimulatedFcntl(scheduler)),
            mock.patch.object(vault_ticket_plugin.wiring, "os", calls),
            mock.patch.object(vault_ticket_plugin.wiring, "socket", sockets),
            mock.patch.object(secrets, "token_hex", lambda size: scheduler.chance.randbytes(size).hex()),
            mock.patch.object(Transport, "exchange", lambda _self, *how, **more: exchange(*how, **more)),
            _without_shared_locks(Wiring, DaemonWiring),
        ):
            yield
    finally:
        random.setstate(before)


@contextlib.contextmanager
def _without_shared_locks(*kinds: type) -> Iterator[None]:
    """Up to Python 3.11 a cached property has one lock for all instances: processes here would wait for each other."""
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            for one in vars(kind).values():
                if isinstance(one, functools.cached_property) and hasattr(one, "lock"):
                    stack.enter_context(mock.patch.object(one, "lock", contextlib.nullcontext()))
        yield


def _host_name(scheduler: Scheduler) -> str:
    return "nowhere" if scheduler.current is None else scheduler.current.process.machine.name


@contextlib.contextmanager
def folders() -> Iterator[Path]:
    """A place for all hosts' folders, in memory."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY if os.path.isdir(MEMORY) else None) as place:
        yield Path(place)


def new_host(scheduler: Scheduler, place: Path, name: str, number: int) -> Host:
    root = place / name
    root.mkdir()
    return Host(name, root, SimulatedClock(scheduler, UPTIME * (number + 1)))
