"""sd_notify over a real datagram socket, the watchdog, and sockets that are handed over."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_ticket_plugin.daemon import systemd
from vault_ticket_plugin.daemon.systemd import Notifier, inherited


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(20)

    def messages(self) -> list[str]:
        """What has come so far."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(20)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/bin"}


def test_the_service_s_life_is_told(manager: Manager, environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    notifier.ready("3 profiles")
    notifier.status("all is well")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    notifier.ready()
    notifier.stopping(35.0, "finishing")
    ready, status, reloading, again, stopping = manager.messages()
    assert ready == "READY=1\nSTATUS=3 profiles"
    assert status == "STATUS=all is well"
    state, stamp = reloading.splitlines()
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert again == "READY=1"
    assert stopping == "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=finishing"


def test_an_abstract_address_is_used_too() -> None:
    name = f"vault-ticket-test-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager("\0" + name)
    try:
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert manager.messages() == ["READY=1"]
    finally:
        manager.socket.close()


def test_a_status_of_several_lines_becomes_no_second_message(manager: Manager, environ: dict[str, str]) -> None:
    Notifier(environ).status("a\nSTOPPING=1")
    assert manager.messages() == ["STATUS=a STOPPING=1"]


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1234", "/nowhere/notify"])
def test_where_no_systemd_listens_nothing_happens(address: str | None) -> None:
    notifier = Notifier({} if address is None else {"NOTIFY_SOCKET": address})
    notifier.ready("x")
    notifier.stopping(1.0)
    notifier.watch(lambda: True, threading.Event())  # no watchdog is wanted: it returns


def test_a_manager_that_does_not_read_holds_us_up_a_bounded_time(
    manager: Manager, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.001)
    notifier = Notifier(environ)
    room = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for _ in range(room + 10):
        notifier.status("x")
    assert 0 < len(manager.messages()) < room + 10


def test_programs_that_we_run_can_t_speak_for_us(environ: dict[str, str]) -> None:
    environ |= {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}
    Notifier(environ)
    assert environ == {"PATH": "/bin"}


# -- the watchdog


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        *(("3000000", "us", 1.0), ("3000000", "", 1.0), ("3000000", "1", None)),
        *(("", "us", None), ("0", "us", None), ("soon", "us", None), ("-5", "us", None)),
    ],
)
def test_signs_of_life_are_given_in_less_than_half_of_the_time_where_they_are_asked_of_us(
    usec: str, pid: str, seconds: float | None
) -> None:
    found = Notifier({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid.replace("us", str(os.getpid()))}).watchdog_every
    assert found == seconds
    assert found is None or found < int(usec) / 1e6 / 2


def test_signs_of_life_end_with_life(manager: Manager, environ: dict[str, str]) -> None:
    """A daemon whose scheduler stands still gives none, and systemd starts it anew."""
    notifier = Notifier(environ | {"WATCHDOG_USEC": "30000"})
    alive, ended, looked = threading.Event(), threading.Event(), threading.Semaphore(0)
    alive.set()

    def look() -> bool:
        looked.release()
        return alive.is_set()

    thread = threading.Thread(target=notifier.watch, args=(look, ended))
    thread.start()
    try:
        assert [manager.socket.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        alive.clear()
        for _ in range(50):  # at the second look from now on none is under way that saw it alive
            if not looked.acquire(blocking=False):
                break
        assert looked.acquire(timeout=20)
        manager.messages()
        assert looked.acquire(timeout=20)
        assert looked.acquire(timeout=20)
        assert manager.messages() == []
    finally:
        ended.set()
        thread.join(20)
    assert not thread.is_alive()


# -- sockets handed over

HANDED_OVER = """
import fcntl, json, os, sys
for at, fd in enumerate([fcntl.fcntl(int(text), fcntl.F_DUPFD, 50) for text in sys.argv[1:]]):
    os.dup2(fd, 3 + at)
    os.close(fd)
from vault_ticket_plugin.daemon.systemd import inherited
if os.environ.get("LISTEN_PID") == "us":
    os.environ["LISTEN_PID"] = str(os.getpid())
found = inherited(os.environ)
print(json.dumps({
    "sockets": [(name, sock.getsockname(), sock.get_inheritable()) for name, sock in found],
    "left": sorted(name for name in os.environ if name.startswith("LISTEN_")),
    "again": inherited(os.environ),
}))
for _, sock in found:
    connection, _ = sock.accept()
    connection.sendall(b"hello")
    connection.close()
"""


def start(fds: list[int], pid: str = "us", names: str | None = None, count: str | None = None) -> subprocess.Popen[str]:
    """A program that finds these from descriptor 3 on."""
    environ = os.environ | {"LISTEN_PID": pid, "LISTEN_FDS": str(len(fds)) if count is None else count}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    return subprocess.Popen(
        [sys.executable, "-c", HANDED_OVER, *map(str, fds)],
        env=environ,
        pass_fds=fds,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[list[socket.socket]]:
    found = []
    for name in ("a", "b"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / name))
        sock.listen()
        found.append(sock)
    yield found
    for sock in found:
        sock.close()


def test_sockets_are_handed_over_by_name_and_work(listening: list[socket.socket], tmp_path: Path) -> None:
    with start([sock.fileno() for sock in listening], names="http:credentials") as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        assert found["sockets"] == [
            ["http", str(tmp_path / "a"), False],
            ["credentials", str(tmp_path / "b"), False],
        ]
        assert found["left"] == []
        assert found["again"] == []
        for name in ("a", "b"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(tmp_path / name))
                assert client.recv(10) == b"hello"


@pytest.mark.parametrize(("pid", "count"), [("1", "2"), ("", "2"), ("us", ""), ("us", "0"), ("us", "-1"), ("us", "x")])
def test_sockets_that_are_not_for_us_are_left_alone(listening: list[socket.socket], pid: str, count: str) -> None:
    with start([sock.fileno() for sock in listening], pid, "http:credentials", count) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == {"sockets": [], "left": [], "again": []}


def test_what_is_no_listening_stream_socket_is_not_used(listening: list[socket.socket], tmp_path: Path) -> None:
    """A datagram socket, a file, a descriptor that is not there, one without a name."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        (tmp_path / "file").open("w") as file,
        start([datagram.fileno(), file.fileno(), listening[0].fileno()], names="one:two", count="5") as process,
    ):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["sockets"] == [["", str(tmp_path / "a"), False]]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "a"))


def test_without_systemd_there_are_none() -> None:
    assert inherited({}) == []
