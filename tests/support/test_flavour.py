"""Another server binary than bao. No Vault is here: its place is taken by a bao that calls itself one.

So these tests say that the suite starts what it is told to, with a configuration and calls as HashiCorp's program
wants them by its documentation. That the program takes them, only a run with it can say.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import worded
from tests.support.bao import DevServer, DiskServer, RaftCluster, Server
from tests.support.flavour import AUDIT, CHOICE, Flavour, NoServer, binary, flavour, flavour_of

WORDED = Path(worded.__file__).with_name("worded-vault")
OPENBAO, VAULT = Flavour("OpenBao", "2.7.2"), Flavour("Vault", "1.16.0")


def program(folder: Path, script: str) -> Path:
    made = folder / "server"
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(0o755)
    return made


@pytest.fixture
def so_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bao that says it is Vault and is bao in all else: it takes no audit device by API."""
    monkeypatch.delenv(CHOICE, raising=False)
    says = 'if [ "$1" = version ]; then echo "Vault v1.16.0 (made up)"; exit; fi'
    made = program(tmp_path, f'{says}\nexec "{binary()}" "$@"')
    monkeypatch.setenv(CHOICE, str(made))
    return made


@pytest.fixture
def in_words(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """The binary in HashiCorp's words, and what is written through `api` meanwhile."""
    monkeypatch.setenv(CHOICE, str(WORDED))
    written: list[tuple[str, str, Any]] = []
    api = Server.api

    def noted(self: Server, method: str, path: str, body: Any = None, *args: Any, **how: Any) -> Any:
        if path.startswith("sys/audit"):
            written.append((method, path, body))
        return api(self, method, path, body, *args, **how)

    monkeypatch.setattr(Server, "api", noted)
    return written


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("OpenBao v2.7.2 (9e0a0d3), committed 2026-10-26T20:32:27Z", "OpenBao 2.7.2"),
        ("Vault v2.1.0-beta1 (0123456), built 2026-10-26T20:32:27Z", "Vault 2.1.0-beta1"),
        ("Vault v1.16.3+ent", "Vault 1.16.3+ent"),
    ],
)
def test_a_binary_says_what_it_is(tmp_path: Path, printed: str, found: str) -> None:
    assert str(flavour_of(program(tmp_path, f"echo '{printed}'"))) == found


def test_another_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoServer, match="no OpenBao and no Vault"):
        flavour_of(program(tmp_path, "echo Consul v1.20.0"))
    for chosen in (tmp_path / "none", tmp_path):
        monkeypatch.setenv(CHOICE, str(chosen))
        with pytest.raises(NoServer, match=CHOICE):
            binary()


def test_without_a_choice_it_is_this_environments_bao(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHOICE, raising=False)
    assert binary() == Path(sys.executable).parent / "bao"
    assert flavour().is_openbao


def test_what_each_wants_in_its_configuration() -> None:
    assert (OPENBAO.dev_config(audit=True), OPENBAO.dev_config(audit=False)) == (AUDIT, "")
    assert (VAULT.dev_config(audit=True), VAULT.dev_config(audit=False)) == ("", "")
    assert (OPENBAO.disk_config(), VAULT.disk_config()) == (AUDIT, "disable_mlock = true\n")
    assert (OPENBAO.audit_by_api, VAULT.audit_by_api) == (False, True)


def test_the_chosen_binary_is_the_one_that_runs(so_called: Path) -> None:
    assert (binary(), str(flavour())) == (so_called, "Vault 1.16.0")
    with DevServer(audit=False) as server:
        assert (server.folder / "server.hcl").read_text() == ""
        assert server.cli("version").stdout == "Vault v1.16.0 (made up)\n"


def test_a_dev_server_gets_its_audit_device_by_api(in_words: list[tuple[str, str, Any]]) -> None:
    with DevServer() as server:
        options = {"file_path": str(server.folder / "audit.log")}
        assert in_words == [("PUT", "sys/audit/requests", {"type": "file", "options": options})]
        assert not server.has_namespaces()
        kv, mark = server.new_kv(), server.mark()
        server.write(f"{kv}/data/x", {"data": {}})
        assert [one.path for one in server.requests_seen(mark, root=True)] == [f"{kv}/data/x"]
    with DevServer(audit=False):
        assert len(in_words) == 1


def test_a_dev_server_over_tls_too(in_words: list[tuple[str, str, Any]]) -> None:
    with DevServer(tls=True) as server:
        assert server.cli("token", "lookup").returncode == 0
    assert len(in_words) == 1


def test_a_disk_server_keeps_its_audit_device(in_words: list[tuple[str, str, Any]]) -> None:
    with DiskServer() as server:
        server.stop()
        server.start()
        assert "disable_mlock = true" in (server.folder / "server.hcl").read_text()
        assert AUDIT not in (server.folder / "server.hcl").read_text()
        server.kill()
        server.start()
        assert server.active
    assert len(in_words) == 1


@pytest.mark.slow
def test_a_cluster_has_one_audit_device(in_words: list[tuple[str, str, Any]]) -> None:
    with RaftCluster() as cluster:
        assert {node.audit_log for node in cluster.nodes} == {cluster.nodes[0].folder / "audit.log"}
        cluster.kill_leader()
        cluster.leader()
    assert len(in_words) == 1
