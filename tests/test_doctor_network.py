"""The doctor's look at the way to a server, for what no server on loopback can show."""

import socket
from pathlib import Path

import pytest

from vault_ticket_plugin.doctor import network
from vault_ticket_plugin.doctor.network import Target
from vault_ticket_plugin.settings import Tls


def target(url: str, unix_socket: str | None = None) -> Target:
    return Target(url, Tls(), "Check it", 69, unix_socket)


def test_plain_http_is_warned_of_where_it_leaves_this_host() -> None:
    assert network.certificate(target("http://vault.example:8200")).status == "warn"
    assert network.certificate(target("http://127.0.0.1:8200")).status == "pass"
    assert network.certificate(target("http://localhost", "/run/agent.sock")).status == "pass"


def test_behind_a_proxy_nothing_is_looked_up_or_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.invalid:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    found = [test(target("https://vault.invalid")) for test in (network.name, network.connection, network.certificate)]
    assert [one.status for one in found] == ["skip"] * 3
    assert "secret" not in str(found)


def test_a_proxy_is_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    assert network.name(target("http://127.0.0.1:8200")).status == "pass"


def test_an_agents_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    through = target("http://localhost", path)
    assert network.name(through).status == "skip"
    missing = network.connection(through)
    assert (missing.status, missing.exit_code) == ("fail", 69)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert network.connection(through).status == "pass"


@pytest.mark.parametrize("url", ["https://[::1]:8200", "https://192.0.2.1", "https://[fe80::1%25eth0]:8200"])
def test_an_address_needs_no_look_up(url: str) -> None:
    assert network.name(target(url)).status == "pass"


def test_ports_that_are_meant_by_the_scheme() -> None:
    assert (target("https://vault.example").port, target("http://vault.example").port) == (443, 80)
