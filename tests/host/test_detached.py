"""What a command and the process that spends for it say to each other, and when there is no such process.

tests/e2e/test_detached.py has the two at work.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.process import wait_until
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import Busy, EndpointUnavailable, SpendEnded, bug
from vault_ticket_plugin.host import detached
from vault_ticket_plugin.host.detached import Detached, Needs
from vault_ticket_plugin.host.detached_wire import (
    MUTE_SECONDS,
    CallerGone,
    Link,
    Remote,
    Voice,
    outcome_to_plain,
)
from vault_ticket_plugin.model import LiveTicket, Ticket
from vault_ticket_plugin.refresh.carrier import Waiter
from vault_ticket_plugin.secret import Secret

LIVE = LiveTicket(Ticket(Secret("the-ticket"), "Bearer", 100.0, 3700.5), 3600.25, shared=False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The command's end and the process's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def patience(seconds: float = 30.0) -> Deadline:
    return Deadline.after(seconds)


Pair = tuple[socket.socket, socket.socket]


class TestAnswers:
    @pytest.mark.parametrize("live", [LIVE, LIVE._replace(shared=True), None])
    def test_ticket(self, pair: Pair, live: LiveTicket | None) -> None:
        """It arrives as it was, to the fraction of a second."""
        Voice(pair[1]).say("done", outcome_to_plain(live))
        link = Link(pair[0])
        assert link.result(patience()) == live
        assert link.answered

    def test_error(self, pair: Pair) -> None:
        """Its class, and with it the exit code, its texts and what the server asked for."""
        said = EndpointUnavailable("busy", "Later.", code="slow_down", retry_after=7.5)
        Voice(pair[1]).say("failed", said.to_plain())
        with pytest.raises(EndpointUnavailable) as raised:
            Link(pair[0]).result(patience())
        assert raised.value.to_plain() == said.to_plain()

    def test_bug(self, pair: Pair) -> None:
        Voice(pair[1]).say("failed", bug(ValueError("a secret")).to_plain())
        with pytest.raises(Exception, match="this is a bug in vault-ticket: ValueError") as raised:
            Link(pair[0]).result(patience())
        assert "a secret" not in str(raised.value)

    def test_no_word(self, pair: Pair) -> None:
        """The process was ended, perhaps in the middle of a word."""
        pair[1].send(b'["done", {"ti')
        pair[1].close()
        link = Link(pair[0])
        with pytest.raises(SpendEnded):
            link.result(patience())
        assert not link.answered

    def test_out_of_patience(self, pair: Pair) -> None:
        with pytest.raises(Busy, match="longer than this call may wait"):
            Link(pair[0]).result(patience(0.01))

    def test_in_pieces(self, pair: Pair) -> None:
        """A long ticket, through a pipe that takes a little at a time."""
        long = LIVE._replace(ticket=LIVE.ticket._replace(access_token=Secret("a" * 1_000_000)))
        voice = Voice(pair[1])
        teller = threading.Thread(target=voice.say, args=("done", outcome_to_plain(long)))
        teller.start()
        assert Link(pair[0]).result(patience()) == long
        teller.join(30)


class TestBegin:
    def test_there(self, pair: Pair) -> None:
        Voice(pair[1]).say("pid", 4711)
        assert Link(pair[0]).has_begun()

    def test_not_there(self, pair: Pair) -> None:
        pair[1].close()
        assert not Link(pair[0]).has_begun()


class TestLog:
    def test_shown_as_our_own(self, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        """Logger, level, text and what goes with it in JSON; before the result."""
        voice, name = Voice(pair[1]), "vault_ticket_plugin.refresh.claim"
        record = logging.LogRecord(name, logging.WARNING, "", 0, "%d %% of %s", (50, "it"), None)
        record.details = {"kind": "claim"}
        voice.handle(record)
        voice.say("done", None)
        Link(pair[0]).result(patience())

        (shown,) = caplog.records
        assert (shown.name, shown.levelname, shown.getMessage()) == (name, "WARNING", "50 % of it")
        assert shown.__dict__["details"] == {"kind": "claim"}

    def test_bad_line(self, pair: Pair) -> None:
        """One that can't be written ends nothing: neither its text, nor what goes with it."""
        voice, name = Voice(pair[1]), "vault_ticket_plugin.refresh.claim"
        voice.handle(logging.LogRecord(name, logging.INFO, "", 0, "%d", ("no number",), None))
        record = logging.LogRecord(name, logging.INFO, "", 0, "text", (), None)
        record.details = {"what": object()}
        voice.handle(record)
        voice.say("done", None)
        assert Link(pair[0]).result(patience()) is None


class TestUnread:
    def test_mute(self, pair: Pair) -> None:
        """A command that is stopped is waited for once, and not again for each line."""
        voice, began = Voice(pair[1]), time.monotonic()
        for _ in range(1000):
            voice.say("log", ["name", 20, "x" * 10_000, None])
        assert MUTE_SECONDS <= time.monotonic() - began < 2 * MUTE_SECONDS

    def test_gone(self, pair: Pair) -> None:
        """One that has ended is not waited for."""
        pair[0].close()
        voice, began = Voice(pair[1]), time.monotonic()
        voice.say("log", ["name", 20, "x" * 1_000_000, None])
        assert time.monotonic() - began < MUTE_SECONDS


class TestWaiter:
    @pytest.fixture(autouse=True)
    def _signal(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGIO)
        yield
        signal.signal(signal.SIGIO, before)

    def test_leaves(self, pair: Pair) -> None:
        """Whoever waits for it sees it at once, wherever it is."""
        caller = Remote(pair[1])
        assert not caller.gone()
        with pytest.raises(CallerGone):  # noqa: PT012 - the signal comes when it comes
            pair[0].shutdown(socket.SHUT_WR)
            wait_until(lambda: False, "the signal")

    def test_had_left(self, pair: Pair) -> None:
        """Before it could be told so."""
        pair[0].close()
        caller = Remote(pair[1])
        with pytest.raises(CallerGone):
            caller.end_if_gone()

    def test_committed(self, pair: Pair) -> None:
        """From then on it is not ended; until it asks again, having changed nothing."""
        caller = Remote(pair[1])
        caller.commit()
        pair[0].close()
        caller.end_if_gone()
        assert caller.committed_for() > 0
        assert caller.gone()
        with pytest.raises(CallerGone):
            caller.end_if_gone()


class TestNoProcess:
    """Another thread may hold a lock that would stay locked in the fork."""

    def carry(self) -> str:
        """The name of the thread that did it."""
        names: list[str] = []

        def job(_caller: Waiter) -> None:
            names.append(threading.current_thread().name)

        def needless() -> list[int]:
            raise AssertionError("a fork")

        carrier = Detached(Needs(needless, lambda: None, lambda _seconds: None, 1.0))
        carrier.carry(job, None, patience())
        carrier.finish()
        return names[0]

    def test_several_threads(self) -> None:
        over = threading.Event()
        other = threading.Thread(target=over.wait)
        other.start()
        try:
            assert self.carry() == "spend"
        finally:
            over.set()
            other.join()

    def test_another_thread(self) -> None:
        names: list[str] = []
        other = threading.Thread(target=lambda: names.append(self.carry()))
        other.start()
        other.join(30)
        assert names == ["spend"]

    def test_macos(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its own libraries must not be used in a fork."""
        monkeypatch.setattr(sys, "platform", "darwin")
        assert self.carry() == "spend"


class TestDescriptors:
    def test_listed(self) -> None:
        reader, writer = os.pipe()
        assert {0, 1, 2, reader, writer} <= detached._descriptors()
        os.close(reader)
        os.close(writer)

    def test_not_listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without /proc: not a thousand million of them."""

        def missing(_path: str) -> list[str]:
            raise FileNotFoundError

        monkeypatch.setattr(os, "listdir", missing)
        monkeypatch.setattr(os, "sysconf", lambda _name: 1 << 30)
        assert len(detached._descriptors()) == detached.MAX_DESCRIPTORS
