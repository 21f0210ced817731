"""One thread cuts all exchanges of a process that last beyond their time."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.process import wait_until
from vault_ticket_plugin.transport.watchdog import WATCHDOG, Watchdog

LONG = 60.0


@pytest.fixture
def dog() -> Iterator[Watchdog]:
    WATCHDOG.end()  # other tests' own
    made = Watchdog()
    yield made
    made.end()


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "watchdog"]


def never() -> None:
    raise AssertionError("cut although it was in time")


class TestCut:
    def test_at_deadline(self, dog: Watchdog) -> None:
        cut, began = threading.Event(), time.monotonic()
        with dog.watch(0.05, cut.set):
            assert cut.wait(30)
        assert time.monotonic() - began >= 0.05

    def test_once(self, dog: Watchdog) -> None:
        """However long it goes on after that."""
        cuts: list[str] = []
        later = threading.Event()
        with dog.watch(0.01, lambda: cuts.append("one")), dog.watch(0.05, later.set):
            assert later.wait(30)
        assert cuts == ["one"]

    def test_not_what_is_over(self, dog: Watchdog) -> None:
        later = threading.Event()
        with dog.watch(0.02, never):
            pass
        with dog.watch(0.05, later.set):
            assert later.wait(30)

    def test_nothing_left(self, dog: Watchdog) -> None:
        """What is over is forgotten, also where it ends by an error, or behind one that goes on."""
        with dog.watch(LONG, never):
            for _ in range(3):
                with pytest.raises(ValueError, match="inside"), dog.watch(LONG + 1, never):
                    raise ValueError("inside")
        assert (dog._cuts, dog._ends) == ({}, [])

    def test_order(self, dog: Watchdog) -> None:
        """The sooner deadline first, whichever began first; one that comes later may have to be cut before."""
        cuts: list[str] = []
        last = threading.Event()
        names = {"third": 0.15, "first": 0.05, "second": 0.1}

        def cut(name: str) -> Callable[[], None]:
            return lambda: cuts.append(name)

        watched = [dog.watch(seconds, cut(name)) for name, seconds in names.items()]
        watched.append(dog.watch(0.2, last.set))
        for one in watched:
            one.__enter__()
        assert last.wait(30)
        for one in watched:
            one.__exit__(None, None, None)
        assert cuts == ["first", "second", "third"]

    def test_many(self, dog: Watchdog) -> None:
        """Fifty at once, some in time and some not: each gets its own, and one thread does it."""
        gate = threading.Barrier(50)

        def exchange(number: int) -> bool:
            cut = threading.Event()
            gate.wait(30)
            with dog.watch(0.05 if number % 2 else LONG, cut.set):
                assert len(threads()) == 1
                return cut.wait(30) if number % 2 else cut.is_set()

        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(exchange, range(50))) == [bool(number % 2) for number in range(50)]
        assert (dog._cuts, dog._ends) == ({}, [])


class TestThread:
    def test_end(self, dog: Watchdog) -> None:
        """A process that forks has none; the next exchange brings it back."""
        with dog.watch(LONG, never):
            assert len(threads()) == 1
        dog.end()
        assert threads() == []

        cut = threading.Event()
        with dog.watch(0.01, cut.set):
            assert cut.wait(30)
        assert len(threads()) == 1

    def test_end_twice(self, dog: Watchdog) -> None:
        dog.end()
        dog.start()
        dog.start()
        assert len(threads()) == 1
        dog.end()
        dog.end()
        assert threads() == []

    def test_holds_nobody_up(self, dog: Watchdog) -> None:
        """The interpreter does not wait for it."""
        dog.start()
        assert threads()[0].daemon

    def test_none_to_be_had(self, dog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
        """The exchange is not watched, and done. As soon as there are threads again, so is the watch."""
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with dog.watch(0.01, never):
                pass
        cut = threading.Event()
        with dog.watch(0.01, cut.set):
            assert cut.wait(30)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_fork(self) -> None:
        """In the middle of an exchange, its lock taken: the fork has a watch of its own."""
        with WATCHDOG.watch(LONG, never), WATCHDOG._changed:
            child = os.fork()
            if child == 0:
                cut = threading.Event()
                with WATCHDOG.watch(0.01, cut.set):
                    os._exit(0 if cut.wait(10) else 1)
        ended: list[int] = []

        def has_ended() -> bool:
            pid, status = os.waitpid(child, os.WNOHANG)
            ended.append(status)
            return pid != 0

        wait_until(has_ended, "the fork's end")
        assert ended[-1] == 0
        WATCHDOG.end()


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
