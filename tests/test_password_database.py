"""The password database may be a server that does not answer."""

import pwd
import threading
import time
from collections.abc import Iterator

import pytest

from vault_ticket_plugin import password_database
from vault_ticket_plugin.password_database import home  # before a fixture takes it away

ENTRY = ("a", "x", 4711, 4711, "", "/home/a", "/bin/sh")


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    home.cache_clear()
    yield
    home.cache_clear()


def answers(monkeypatch: pytest.MonkeyPatch, folder: str) -> list[int]:
    asked: list[int] = []

    def getpwuid(user: int) -> pwd.struct_passwd:
        asked.append(user)
        return pwd.struct_passwd((*ENTRY[:5], folder, ENTRY[6]))

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    return asked


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, "/home/a")
    assert [home(4711), home(4711)] == ["/home/a"] * 2
    assert asked == [4711]


def test_a_user_without_an_entry_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwuid(_user: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    assert home(4711) is None


@pytest.mark.parametrize("folder", ["", "home/a", "~"])
def test_an_entry_that_names_no_absolute_path_counts_as_none(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    answers(monkeypatch, folder)
    assert home(4711) is None


def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does its thread keep the program from ending."""
    hangs = threading.Event()

    def getpwuid(_user: int) -> pwd.struct_passwd:
        hangs.wait(60)
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(password_database, "ANSWER_SECONDS", 0.05)
    began = time.monotonic()
    assert home(4711) is None
    assert time.monotonic() - began < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    hangs.set()


def test_where_no_thread_can_be_had_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert home(4711) is None
