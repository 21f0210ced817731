"""A spend in a thread outlives a caller that is interrupted, cancelled or out of patience, and its interpreter."""

import asyncio
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from tests.e2e.fleet import ROOT, Fleet
from tests.support.bao import DevServer
from tests.support.cli import finish
from tests.support.emulator import Emulator
from tests.support.process import wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import Busy, GrantRejected
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.background import InThread
from vault_ticket_plugin.host.flight import Flight
from vault_ticket_plugin.host.lock import HeldLock, HostLock
from vault_ticket_plugin.model import LiveTicket, Ticket
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.secret import Secret

NAME = "support-0123.lock"
LIVE = LiveTicket(Ticket(Secret("t"), "Bearer", 0.0, 3600.0), 3600.0)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(str(tmp_path / "run")) as folder:
        yield folder


@pytest.fixture
def lock(folder: Folder) -> HeldLock:
    """The host's, taken."""
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take()
        held = turn.hand_over()
        assert held is not None
        return held


def is_free(folder: Folder) -> bool:
    with HostLock(folder, NAME).queued() as turn:
        return turn.take()


def soon() -> Deadline:
    return Deadline.after(0.05)


class Job:
    """Goes on until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.done = threading.Event(), threading.Event(), threading.Event()
        self.left: bool | None = None

    def __call__(self, caller: Waiter) -> LiveTicket:
        self.begun.set()
        assert self.may_end.wait(30)
        self.left = caller.gone()
        self.done.set()
        return LIVE


class TestCarry:
    def test_outcome(self, folder: Folder, lock: HeldLock) -> None:
        """It is handed back when the lock is free already."""
        carrier, job = InThread(), Job()
        job.may_end.set()
        assert carrier.carry(job, lock, Deadline.after(30)) is LIVE
        assert is_free(folder)
        assert (job.left, carrier._threads) == (False, set())

    def test_error(self, folder: Folder, lock: HeldLock) -> None:
        def fail(_caller: Waiter) -> LiveTicket:
            raise GrantRejected("dead")

        with pytest.raises(GrantRejected, match="dead"):
            InThread().carry(fail, lock, Deadline.after(30))
        assert is_free(folder)

    def test_out_of_patience(self, folder: Folder, lock: HeldLock) -> None:
        """The job keeps the lock, and knows that nobody waits."""
        carrier, job = InThread(), Job()
        with pytest.raises(Busy, match="longer than this call may wait"):
            carrier.carry(job, lock, soon())
        assert not is_free(folder)
        job.may_end.set()
        carrier.finish()
        assert (job.left, is_free(folder)) == (True, True)

    def test_interrupted(self, folder: Folder, lock: HeldLock, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a signal's handler raises is raised in the main thread, which is not the job's."""
        carrier, job = InThread(), Job()

        def interrupt(_future: object, _seconds: float) -> None:
            assert job.begun.wait(30)
            raise KeyboardInterrupt

        monkeypatch.setattr(concurrent.futures.Future, "result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            carrier.carry(job, lock, Deadline.after(30))
        assert not job.done.is_set()
        job.may_end.set()
        carrier.finish()
        assert (job.left, is_free(folder)) == (True, True)

    def test_cancelled(self, folder: Folder, lock: HeldLock) -> None:
        """An asyncio task that awaits it."""
        carrier, job = InThread(), Job()

        async def main() -> None:
            task = asyncio.create_task(asyncio.to_thread(carrier.carry, job, lock, Deadline.after(30)))
            await asyncio.to_thread(job.begun.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not job.done.is_set()
            job.may_end.set()

        asyncio.run(main())
        carrier.finish()
        assert job.done.is_set()
        assert is_free(folder)

    def test_no_thread(self, folder: Folder, lock: HeldLock, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is done where it is asked for."""
        carrier, job = InThread(), Job()
        job.may_end.set()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert carrier.carry(job, lock, Deadline.after(30)) is LIVE
            carrier.finish()
        assert is_free(folder)

    def test_interrupt_before_it_begins(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lock goes with whoever had it."""

        def interrupt(_thread: threading.Thread) -> None:
            raise KeyboardInterrupt

        carrier = InThread()
        turn = HostLock(folder, NAME).queued()
        with turn as taken, monkeypatch.context() as patch:
            assert taken.take()
            patch.setattr(threading.Thread, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                carrier.carry(Job(), taken.hand_over(), Deadline.after(30))
        carrier.finish()
        carrier._threads.clear()
        assert is_free(folder)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_fork(self, folder: Folder, lock: HeldLock) -> None:
        """A program that forks while a spend is under way: its child has no part in the lock."""
        carrier, job = InThread(), Job()
        with pytest.raises(Busy):
            carrier.carry(job, lock, soon())
        ours, childs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(childs)
            os.read(ours, 1)
            os._exit(0)
        os.close(ours)
        try:
            job.may_end.set()
            carrier.finish()
            wait_until(lambda: is_free(folder), "the child to close its copy")
        finally:
            os.close(childs)
            os.waitpid(child, 0)


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestFlight:
    def test_leader_interrupted(self) -> None:
        """Who waits for it asks by itself."""
        flight: Flight[str] = Flight()
        asked, interrupted = threading.Event(), threading.Event()

        def lead() -> str:
            asked.set()
            assert interrupted.wait(30)
            raise KeyboardInterrupt

        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(flight.share, "key", lead)
            assert asked.wait(30)
            follower = pool.submit(flight.share, "key", lambda: "its own", 30.0)
            future = flight._flying["key"]
            wait_until(lambda: bool(future._condition._waiters), "the other to wait")  # type: ignore[attr-defined]
            interrupted.set()
            assert isinstance(leader.exception(30), KeyboardInterrupt)
            assert follower.result(30) == "its own"

    def test_followers_patience(self) -> None:
        """It is its own, and not the leader's."""
        flight: Flight[str] = Flight()
        asked, may_end = threading.Event(), threading.Event()

        def lead() -> str:
            asked.set()
            assert may_end.wait(30)
            return "late"

        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(flight.share, "key", lead)
            assert asked.wait(30)
            with pytest.raises(TimeoutError):
                flight.share("key", lambda: "its own", 0.01)
            may_end.set()
            assert leader.result(30) == "late"


# -- a whole program, on each Python that there is


# What ends while its spend goes on: by itself, by Ctrl-C.
PROGRAM = """
import os, sys
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import Busy
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.wiring import Wiring

wiring = Wiring(load_settings(os.environ), os.environ)
try:
    wiring.ticket(sys.argv[1], Demand(), Deadline.after(float(sys.argv[2])))
except Busy:
    print("busy", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
SUPPORTED = ("3.11", "3.12", "3.13")
LIBRARIES = Path(click.__file__).parents[1]


def python_of(version: str) -> str:
    """On PATH, or beside the one that runs this, where each version has a folder of its own."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}*/bin/python3"))
    for path in (shutil.which(f"python{version}"), *map(str, beside)):
        if path and f" {version}." in subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stdout:
            return path
    pytest.skip(f"needs Python {version}")


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("how", ["ends", "interrupted"])
def test_interpreter_ends(bao: DevServer, emulator: Emulator, tmp_path: Path, version: str, how: str) -> None:
    """Between the request and its answer: what the server rotated is saved and published all the same."""
    python = python_of(version)
    site = Fleet(bao, emulator, tmp_path, request_timeout="6s", claim_time="9s")
    site.put_ticket(left=-5)
    host = site.host("web-1")
    env = {"PYTHONPATH": f"{ROOT}:{LIBRARIES}", "PYTHONDONTWRITEBYTECODE": "1"}
    seconds = "1" if how == "ends" else "30"
    with emulator.holding():
        process = host.start("-W", "error", "-c", PROGRAM, site.profile, seconds, command=python, env=env)
        wait_until(lambda: emulator.stats().in_flight == 1, "the spend")
        if how == "interrupted":
            process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == ("busy\n" if how == "ends" else "interrupted\n")
        assert emulator.stats().in_flight == 1
        assert process.poll() is None
    done = finish(process)
    assert (done.code, done.err) == (0, "")

    site.assert_good(site.get_at("web-1"))
    assert site.has_the_newest_token()
    assert "claim" not in site.notes()
    assert emulator.stats().refreshes == 1


@pytest.mark.parametrize("version", SUPPORTED)
def test_no_warning_of_a_fork_with_threads(bao: DevServer, emulator: Emulator, tmp_path: Path, version: str) -> None:
    """Python 3.12 and newer give one, and the thread that watches the exchanges has ended by then."""
    python = python_of(version)
    site = Fleet(bao, emulator, tmp_path)
    host = site.host("web-1")
    env = {"PYTHONPATH": f"{ROOT}:{LIBRARIES}", "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(3):
        done = host.run(
            *("-W", "error::DeprecationWarning", "-m", "vault_ticket_plugin", "get", site.profile),
            *("--force", "--format", "token"),
            command=python,
            env=env,
        )
        site.assert_good(done)
        assert done.err == ""
