"""One caller per host: a lock that other processes see and SIGKILL releases, one flight for all threads."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process import wait_until
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.flight import Flight
from vault_ticket_plugin.host.lock import HostLock

NAME = "support-0123.lock"
HOLDER = """
import sys
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.lock import HostLock
with Folder(sys.argv[1]) as folder, HostLock(folder, sys.argv[2]).queued() as turn:
    print(turn.take(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(str(tmp_path / "run")) as folder:
        yield folder


@pytest.fixture
def start(folder: Folder) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a process that tries the lock once, says how that went, and holds it until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def start_it() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLDER, folder.path, NAME]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_it
    for process in started:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_at_a_time_has_it(folder: Folder, start: Callable[[], "subprocess.Popen[str]"]) -> None:
    holder = start()
    assert said(holder) == "True"
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take() is False
        assert said(start()) == "False"
        holder.communicate("")
        assert turn.take() is True
        assert said(start()) == "False"
    assert said(start()) == "True"


def test_sigkill_releases_it(folder: Folder, start: Callable[[], "subprocess.Popen[str]"]) -> None:
    holder = start()
    assert said(holder) == "True"
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take() is False
        holder.kill()
        wait_until(turn.take, "the killed holder's lock")


def test_two_in_one_process_exclude_each_other(folder: Folder) -> None:
    with HostLock(folder, NAME).queued() as first, HostLock(folder, NAME).queued() as second:
        assert (first.take(), second.take()) == (True, False)


def test_other_names_are_other_locks(folder: Folder) -> None:
    with HostLock(folder, NAME).queued() as first, HostLock(folder, "other.lock").queued() as second:
        assert (first.take(), second.take()) == (True, True)


def test_an_error_inside_releases_it(folder: Folder) -> None:
    def fail() -> None:
        with HostLock(folder, NAME).queued() as turn:
            assert turn.take()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take()


def test_a_child_process_does_not_keep_it(folder: Folder) -> None:
    """`exec` runs a program for hours; the lock is not its."""
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with HostLock(folder, NAME).queued() as turn:
            # The system closes the child's copy while it starts.
            wait_until(turn.take, "the lock, with the child still running")
            assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_the_file_is_only_ours_and_stays(folder: Folder) -> None:
    """Removing it would let two processes lock two files of one name."""
    before = os.umask(0)
    try:
        with HostLock(folder, NAME).queued():
            assert stat.S_IMODE((Path(folder.path) / NAME).stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert folder.names() == [NAME]


def test_without_a_folder_it_is_always_free() -> None:
    with HostLock(None, NAME).queued() as first, HostLock(None, NAME).queued() as second:
        assert (first.take(), second.take()) == (True, True)


def test_where_no_file_can_be_made_it_is_free_and_said(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """Vault's claim still holds; a full or broken runtime folder must not end every call."""
    os.symlink("nowhere", Path(folder.path) / NAME)
    with HostLock(folder, NAME).queued() as turn:
        assert turn.take()
    assert "do not queue" in caplog.text


class TestFlight:
    def share(self, outcome: Callable[[], str], callers: int = 8) -> tuple[list[str], list[BaseException], int]:
        """What so many threads get that ask while one of them is on its way; how often it was asked."""
        flight: Flight[str] = Flight()
        landing = threading.Event()
        asked: list[int] = []
        got: list[str] = []
        failed: list[BaseException] = []

        def ask() -> str:
            asked.append(1)
            assert landing.wait(30)
            return outcome()

        def call() -> None:
            try:
                got.append(flight.share("key", ask))
            except BaseException as error:  # noqa: BLE001 - it is what we look at
                failed.append(error)

        threads = [threading.Thread(target=call) for _ in range(callers)]
        threads[0].start()
        wait_until(lambda: bool(asked), "the first caller")
        future = flight._flying["key"]
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: len(future._condition._waiters) == callers - 1, "the others to wait")  # type: ignore[attr-defined]
        landing.set()
        for thread in threads:
            thread.join(30)
        assert flight._flying == {}
        return got, failed, len(asked)

    def test_threads_that_ask_meanwhile_share_one_answer(self) -> None:
        assert self.share(lambda: "ticket") == (["ticket"] * 8, [], 1)

    def test_they_share_one_error(self) -> None:
        error = ValueError("no")

        def fail() -> str:
            raise error

        assert self.share(fail) == ([], [error] * 8, 1)

    def test_whoever_asks_later_asks_anew(self) -> None:
        flight: Flight[int] = Flight()
        answers = iter([1, 2])
        assert [flight.share("key", lambda: next(answers)) for _ in range(2)] == [1, 2]

    def test_after_an_error_the_next_one_asks_anew(self) -> None:
        flight: Flight[int] = Flight()

        def fail() -> int:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            flight.share("key", fail)
        assert flight.share("key", lambda: 5) == 5

    def test_other_demands_do_not_share(self) -> None:
        flight: Flight[str] = Flight()
        assert flight.share("a", lambda: flight.share("b", lambda: "inner") + " of outer") == "inner of outer"
