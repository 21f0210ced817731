"""The daemon's sockets: a living daemon's and a foreign file stay, a dead one's socket is replaced."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from vault_ticket_plugin.daemon.http_api.sockets import ListeningSocket, listen
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.daemon import Listener


def unix(path: Path, mode: int = 0o666) -> ListeningSocket:
    return listen(Listener(path=str(path)), mode)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def dead_socket(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o600])
def test_the_socket_has_its_mode_and_its_new_folder_lets_others_through(tmp_path: Path, mode: int) -> None:
    """Whatever the umask is."""
    before = os.umask(0o077)
    try:
        one = unix(tmp_path / "run" / "socket", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run" / "socket").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
    one.close()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    unix(folder / "socket").close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_socket_is_gone_at_the_end(tmp_path: Path) -> None:
    one = unix(tmp_path / "socket")
    one.close()
    assert not (tmp_path / "socket").exists()


def test_at_the_end_another_daemons_socket_stays(tmp_path: Path) -> None:
    """Somebody removed ours and a newer daemon listens there."""
    path = tmp_path / "socket"
    old = unix(path)
    path.unlink()
    new = unix(path)
    old.close()
    assert connects(path)
    new.close()


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    dead_socket(path)
    one = unix(path)
    assert connects(path)
    one.close()


def test_a_living_daemons_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    living = unix(path)
    with pytest.raises(ConfigError, match="another daemon listens"):
        unix(path)
    assert connects(path)
    living.close()


def test_a_daemon_too_busy_to_accept_counts_as_living(tmp_path: Path) -> None:
    """Its backlog is full: connecting gives EAGAIN where nobody waits."""
    path = tmp_path / "socket"
    clients = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(path))
            clients.append(client)
        with pytest.raises(ConfigError, match="another daemon listens"):
            unix(path)
        assert path.exists()
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    if kind == "file":
        path.write_text("somebody's")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is no socket"):
        unix(path)
    assert path.is_symlink() or path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's socket")
def test_another_users_dead_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    dead_socket(path)
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="another user"):
        unix(path)
    assert path.exists()


def test_of_two_that_start_at_once_at_a_dead_socket_one_listens(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(20):
        dead_socket(path)
        made: list[ListeningSocket] = []
        failed: list[ConfigError] = []
        start = threading.Barrier(2)

        def begin(start: threading.Barrier, made: list[ListeningSocket], failed: list[ConfigError]) -> None:
            start.wait()
            try:
                made.append(unix(path))
            except ConfigError as error:
                failed.append(error)

        both = [threading.Thread(target=begin, args=(start, made, failed)) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert (len(made), len(failed)) == (1, 1)
        assert connects(path)
        made[0].close()


def test_a_loopback_port_is_taken_and_shown() -> None:
    one = listen(Listener(host="127.0.0.1"), 0o666)
    assert one.listener.port > 0
    assert str(one.listener) == f"127.0.0.1:{one.listener.port}"
    with pytest.raises(ConfigError, match="can't listen"):
        listen(one.listener, 0o666)
    one.close()


def test_a_name_that_is_no_loopback_address_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is what /etc/hosts says it is."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)
    with pytest.raises(ConfigError, match="no loopback address"):
        listen(Listener(host="localhost"), 0o666)


def test_a_given_socket_that_is_open_to_other_hosts_is_refused() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        with pytest.raises(ConfigError, match="open to other hosts"):
            ListeningSocket.given(Listener(host="127.0.0.1", port=1), everywhere)


def test_a_given_unix_socket_is_not_removed(tmp_path: Path) -> None:
    """It belongs to who made it."""
    path = tmp_path / "socket"
    inherited = socket.socket(socket.AF_UNIX)
    inherited.bind(str(path))
    inherited.listen()
    one = ListeningSocket.given(Listener(path=str(path)), inherited)
    one.close()
    assert path.exists()
