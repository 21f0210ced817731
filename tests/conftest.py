"""What every test can ask for: a real OpenBao server, the Ticket API's emulator, a host of its own."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bao import DevServer
from tests.support.cli import Host
from tests.support.emulator import Emulator
from tests.support.flavour import flavour
from tests.support.hashicorp import Hashicorp
from tests.support.process import children
from tests.world import World
from vault_ticket_plugin import environment, password_database
from vault_ticket_plugin.log import NAME

_shared: set[int] = set()  # processes that outlive a test because all tests of this worker use them


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_configure() -> None:
    """A shell's background job begins with these two ignored, and so would every program that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))


@pytest.fixture(autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    before = children()
    yield
    left = children() - before - _shared
    assert not left, f"the test left processes behind: {left}"


@pytest.fixture(autouse=True)
def _our_logger_as_it_was() -> Iterator[None]:
    """A test that runs the click program in its own process configures the logger for all that come after it."""
    logger = logging.getLogger(NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def _users_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whoever runs the tests are left alone (tests/support/users_folders for other processes)."""
    monkeypatch.setattr(environment, "ROOT_STATE", str(tmp_path / "users-state" / "vault-ticket"))
    monkeypatch.setattr(environment, "ROOT_RUNTIME", str(tmp_path / "users-run" / "vault-ticket"))
    monkeypatch.setattr(password_database, "home", lambda _user: str(tmp_path / "users-home"))


@pytest.fixture(scope="session")
def bao() -> Iterator[DevServer]:
    """One dev server for all tests of a worker: each takes mounts of its own (`kv`) and its own names."""
    with DevServer() as server:
        _shared.update(server.pids)
        yield server


@pytest.fixture(scope="session")
def hashicorp(bao: DevServer) -> Iterator[Hashicorp]:
    """The same server in the words of HashiCorp's Vault. What a test makes it do wrong ends with the test."""
    with Hashicorp(bao) as server:
        yield server


@pytest.fixture(autouse=True)
def _hashicorp_behaves(request: pytest.FixtureRequest) -> Iterator[None]:
    server = request.getfixturevalue("hashicorp") if "hashicorp" in request.fixturenames else None
    yield
    if server:
        server.behave()


@pytest.fixture(scope="session")
def needs_namespaces(bao: DevServer) -> None:
    if not bao.has_namespaces():
        pytest.skip("needs namespaces, and this server has none")


@pytest.fixture(scope="session")
def needs_openbao() -> None:
    """For what OpenBao's own programs can't do and HashiCorp's can."""
    if not flavour().is_openbao:
        pytest.skip(f"about OpenBao, and this is {flavour()}")


@pytest.fixture
def kv(bao: DevServer) -> str:
    """The name of a KV v2 mount that only this test uses."""
    return bao.new_kv()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as api:
        yield api


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Vault, the token endpoint and time in memory; the host's folders are real."""
    made = World(tmp_path / "world")
    yield made
    made.close()
