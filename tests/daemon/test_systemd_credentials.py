"""The socket that systemd's LoadCredential= reads a token from, asked as systemd asks."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.daemon import systemd_credentials
from vault_ticket_plugin.daemon.systemd_credentials import AT_ONCE, Asker, Credentials, who_asks
from vault_ticket_plugin.errors import VaultTicketError, VaultUnreachable
from vault_ticket_plugin.events import Event
from vault_ticket_plugin.model import Demand, LiveTicket, Ticket
from vault_ticket_plugin.secret import Secret

TOKEN = Secret("an-access-token")
# What systemd accepts at the most (CREDENTIAL_SIZE_MAX in its creds-util.h).
MAX_CREDENTIAL_BYTES = 1 << 20


class Source:
    """A keeper that has one profile's ticket, gives it when `free` is set, and fails with `error` where one is set."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.error: VaultTicketError | None = None
        self.asked: list[str] = []

    def ticket(self, profile: str, demand: Demand, deadline: Deadline) -> LiveTicket:
        self.asked.append(profile)
        assert demand == Demand()
        assert self.free.wait(deadline.left())
        if self.error is not None:
            raise self.error
        return LiveTicket.at(Ticket(TOKEN, "Bearer", 0.0, 3600.0), 0.0, HOST_CLOCK.monotonic())


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


@pytest.fixture
def served(source: Source, events: list[Event], path: Path) -> Iterator[Callable[[], None]]:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(systemd_credentials.BACKLOG)
    end = systemd_credentials.serve(listening, source, events.append)
    yield end
    source.free.set()
    end()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("credentials")]
    assert listening.fileno() == -1


def connect(path: Path, address: str | None) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    if address is not None:
        client.bind(address)
    client.connect(str(path))
    return client


def answer(client: socket.socket) -> bytes:
    """All of it, as systemd reads it: to the end, or to the first byte that is too much."""
    found = bytearray()
    with client:
        while len(found) <= MAX_CREDENTIAL_BYTES and (piece := client.recv(65536)):
            found += piece
    return bytes(found)


def ask(path: Path, unit: str = "app.service", credential: str = "support") -> bytes:
    return answer(connect(path, as_systemd(unit, credential)))


def as_systemd(unit: str, credential: str) -> str:
    return f"\0{os.urandom(8).hex()}/unit/{unit}/{credential}"


def refused(found: bytes) -> bool:
    """Whether systemd would not start the unit: an empty answer is a credential, a larger one is not."""
    return len(found) > MAX_CREDENTIAL_BYTES and not found.strip(b"\0")


@pytest.mark.usefixtures("served")
def test_a_unit_gets_the_bare_token_and_the_hand_out_is_told(path: Path, events: list[Event]) -> None:
    assert ask(path, "nightly@web-1.service") == TOKEN.reveal().encode()
    assert events == [Event("hand-out", "support", "given", "nightly@web-1.service", TOKEN.fingerprint())]


@pytest.mark.usefixtures("served")
def test_a_unit_whose_ticket_can_t_be_had_is_not_started(
    path: Path, source: Source, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """An empty answer would start it with an empty token."""
    source.error = VaultUnreachable("Vault does not answer", "Look at it.")
    assert refused(ask(path))
    assert events == [Event("hand-out", "support", "failed", "app.service", "", "VaultUnreachable")]
    assert "app.service does not get support: Vault does not answer. Look at it." in caplog.text


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("address", [None, "", "/unit/app.service/..", "/unit//support"])
def test_who_does_not_ask_as_systemd_does_gets_nothing(
    address: str | None, path: Path, source: Source, events: list[Event]
) -> None:
    found = answer(connect(path, None if address is None else f"\0{os.urandom(8).hex()}{address}"))
    assert refused(found)
    assert source.asked == []
    assert [(event.profile, event.outcome) for event in events] == [("", "failed")]


@pytest.mark.parametrize(
    ("address", "asker"),
    [
        (b"\0adf9d86b6eda275e/unit/foobar.service/credx", Asker("foobar.service", "credx")),
        (b"\0ab/unit/a-b@c\\x2dd.service/a.b_c-d", Asker("a-b@c\\x2dd.service", "a.b_c-d")),
        (b"\0ab/unit/foobar.service/-x", None),
        (b"\0ab/unit/foobar.service/.x", None),
        (b"\0ab/unit/foobar.service/", None),
        (b"\0ab/unit/foobar.service", None),
        (b"\0/unit/foobar.service/credx", None),
        (b"\0ab/unit/a\nb.service/credx", None),
        (b"\0ab/unit/\xff\xfe.service/cr\xffdx", None),
        (b"\0", None),
        (b"", None),
        ("", None),
        ("/run/ab/unit/foobar.service/credx", None),
    ],
)
def test_the_address_names_unit_and_profile(address: object, asker: Asker | None) -> None:
    """systemd.exec(5) has the first one as its example."""
    assert who_asks(address) == asker


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.usefixtures("served")
def test_another_user_gets_nothing_even_from_systemd_s_address(
    path: Path, source: Source, events: list[Event], tmp_path: Path
) -> None:
    path.chmod(0o666)
    tmp_path.chmod(0o755)  # the folders above stay closed: the program begins in it
    program = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.settimeout(30)
client.bind("\\0" + sys.argv[2])
client.connect(sys.argv[1])
found = b""
while piece := client.recv(65536):
    found += piece
sys.stdout.buffer.write(found)
"""
    address = as_systemd("app.service", "support").removeprefix("\0")
    command = [sys.executable, "-c", program, path.name, address]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert refused(done.stdout)
    assert source.asked == []
    assert [(event.outcome, event.who.partition(" (")[0]) for event in events] == [("denied", "uid 65534")]


@pytest.mark.usefixtures("served")
def test_many_units_that_start_at_once_are_all_answered_a_few_at_a_time(
    path: Path, source: Source, events: list[Event]
) -> None:
    source.free.clear()
    before = len(os.listdir("/proc/self/fd"))
    clients = [connect(path, as_systemd(f"app-{number}.service", "support")) for number in range(100)]
    ends = time.monotonic() + 20
    while len(source.asked) < AT_ONCE:
        assert time.monotonic() < ends
        time.sleep(0.005)
    assert len(source.asked) == AT_ONCE
    # The others are not even taken.
    assert len(os.listdir("/proc/self/fd")) - before - len(clients) <= AT_ONCE + 1
    source.free.set()
    assert {answer(client) for client in clients} == {TOKEN.reveal().encode()}
    assert len({event.who for event in events}) == 100


@pytest.mark.usefixtures("served")
def test_whoever_goes_away_or_never_reads_keeps_nobody_else_waiting(
    path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_credentials, "SEND_SECONDS", 0.05)
    for _ in range(AT_ONCE):
        connect(path, as_systemd("gone.service", "support")).close()
    source.error = VaultUnreachable("Vault does not answer", "Look at it.")  # a long answer, so that it matters
    idle = [connect(path, as_systemd("idle.service", "support")) for _ in range(2 * AT_ONCE)]
    last = connect(path, as_systemd("app.service", "support"))
    assert refused(answer(last))
    for client in idle:
        client.close()


def test_the_end_answers_whom_it_has_taken_and_takes_no_more(
    served: Callable[[], None], path: Path, source: Source
) -> None:
    source.free.clear()
    client = connect(path, as_systemd("app.service", "support"))
    ends = time.monotonic() + 20
    while not source.asked:
        assert time.monotonic() < ends
        time.sleep(0.005)
    ending = threading.Thread(target=served)
    ending.start()
    source.free.set()
    assert answer(client) == TOKEN.reveal().encode()
    ending.join(30)
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(str(path))


def test_it_ends_while_all_its_threads_are_busy(source: Source, events: list[Event], path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    source.free.clear()
    one = Credentials(listening, source, events.append, answer=20.0)
    thread = threading.Thread(target=one.run)
    thread.start()
    clients = [connect(path, as_systemd("app.service", "support")) for _ in range(2 * AT_ONCE)]
    ends = time.monotonic() + 20
    while len(source.asked) < AT_ONCE:
        assert time.monotonic() < ends
        time.sleep(0.005)
    one.close()
    source.free.set()
    thread.join(30)
    assert not thread.is_alive()
    for client in clients:
        client.close()
