"""One contract for `KvStore`: what the in-memory one does, the real one does on a real server."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.fakes import FakeVault, Time
from tests.support.bao import DevServer
from tests.support.process import wait_until
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.errors import CasMismatch, ConfigError, VaultUnreachable
from vault_ticket_plugin.model import KvVersion, Location
from vault_ticket_plugin.ports import KvStore
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import Auth, VaultSettings
from vault_ticket_plugin.vault.kv import VaultStore
from vault_ticket_plugin.vault.logins import log_in
from vault_ticket_plugin.vault.session import VaultSession


@dataclass(frozen=True)
class Bench:
    """`connect` opens another client's session; `wait` lets a time pass; `delete` is a person's `bao kv delete`."""

    connect: Callable[[], KvStore]
    delete: Callable[[Location], None]
    wait: Callable[[float], None]
    mounts: dict[KvVersion, str]
    clock: Clock = field(default=HOST_CLOCK)

    def place(self, kv_version: KvVersion = 2) -> Location:
        """A path that nobody has written yet."""
        return Location(self.mounts[kv_version], f"contract/{uuid.uuid4().hex}", kv_version)

    def deadline(self, seconds: float = 10.0) -> Deadline:
        return Deadline.after(seconds, self.clock)


def in_memory() -> Iterator[Bench]:
    passing = Time()
    vault = FakeVault(passing)
    store = vault.session()

    def wait(seconds: float) -> None:
        passing.now += seconds

    yield Bench(vault.session, vault.delete, wait, {1: "one", 2: "two"}, store._clock)


@pytest.fixture(scope="module")
def mounts(bao: DevServer) -> dict[KvVersion, str]:
    return {1: bao.new_kv(1), 2: bao.new_kv(2)}


def on_a_server(bao: DevServer, mounts: dict[KvVersion, str]) -> Iterator[Bench]:
    settings = VaultSettings(bao.address, Auth("token", token=Secret(bao.root_token)))
    sessions: list[VaultSession] = []

    def connect() -> KvStore:
        sessions.append(VaultSession(settings, log_in, HOST_CLOCK))
        return VaultStore(sessions[-1])

    def delete(where: Location) -> None:
        assert bao.api("DELETE", f"{where.mount}/data/{where.path}")[0] == 204

    yield Bench(connect, delete, time.sleep, mounts)
    for session in sessions:
        session.close()


@pytest.fixture(params=["memory", "bao"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "memory":
        yield from in_memory()
    else:
        yield from on_a_server(request.getfixturevalue("bao"), request.getfixturevalue("mounts"))


def test_a_document_that_was_never_written_reads_as_nothing_at_version_0(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    found = store.read(where, bench.deadline())
    assert (found.data, found.version) == (None, 0)
    assert store.current_version(where, bench.deadline()) == 0


def test_what_was_written_is_read_with_its_version(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    assert store.write(where, {"n": 1}, 0, bench.deadline()) == 1
    assert store.write(where, {"n": 2, "of": {"all": ["kinds"]}}, 1, bench.deadline()) == 2
    found = bench.connect().read(where, bench.deadline())
    assert found.data == {"n": 2, "of": {"all": ["kinds"]}}
    assert found.version == 2
    assert found.deletes_at is None
    assert found.created_at is not None
    assert abs(found.created_at - store.now().latest) < 60


@pytest.mark.parametrize("cas", [0, 1, 3])
def test_a_write_at_another_than_the_newest_version_changes_nothing(bench: Bench, cas: int) -> None:
    store, where = bench.connect(), bench.place()
    store.write(where, {"n": 1}, 0, bench.deadline())
    store.write(where, {"n": 2}, 1, bench.deadline())
    with pytest.raises(CasMismatch):
        store.write(where, {"n": 3}, cas, bench.deadline())
    assert store.read(where, bench.deadline()).data == {"n": 2}


def test_of_two_writers_at_one_version_one_wins(bench: Bench) -> None:
    one, other, where = bench.connect(), bench.connect(), bench.place()
    one.write(where, {"by": "one"}, 0, bench.deadline())
    with pytest.raises(CasMismatch):
        other.write(where, {"by": "other"}, 0, bench.deadline())
    assert other.read(where, bench.deadline()).data == {"by": "one"}


def test_a_write_without_check_and_set_always_succeeds(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    assert store.write(where, {"n": 1}, None, bench.deadline()) == 1
    assert store.write(where, {"n": 2}, None, bench.deadline()) == 2


def test_a_version_ends_after_the_set_time_and_check_and_set_goes_on_from_it(bench: Bench) -> None:
    """The leased path's life: the data is gone, its version is what the next write must name."""
    store, where = bench.connect(), bench.place()
    store.expire(where, 2.9, bench.deadline())  # whole seconds, rounded down
    store.write(where, {"n": 1}, 0, bench.deadline())
    found = store.read(where, bench.deadline())
    assert found.data == {"n": 1}
    assert found.created_at is not None
    assert found.deletes_at == pytest.approx(found.created_at + 2, abs=0.01)
    bench.wait(2.0)
    wait_until(lambda: store.read(where, bench.deadline()).data is None, "the version's end")
    gone = store.read(where, bench.deadline())
    assert (gone.version, gone.created_at, gone.deletes_at) == (1, found.created_at, found.deletes_at)
    assert store.current_version(where, bench.deadline()) == 1
    with pytest.raises(CasMismatch):
        store.write(where, {"n": 2}, 0, bench.deadline())
    assert store.write(where, {"n": 2}, 1, bench.deadline()) == 2


def test_versions_no_longer_end_once_that_is_taken_back(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    store.expire(where, 60, bench.deadline())
    store.write(where, {"n": 1}, 0, bench.deadline())
    store.expire(where, 0, bench.deadline())
    assert store.read(where, bench.deadline()).deletes_at is not None
    store.write(where, {"n": 2}, 1, bench.deadline())
    assert store.read(where, bench.deadline()).deletes_at is None


def test_check_and_set_goes_on_from_a_deleted_version(bench: Bench) -> None:
    """A person ran `bao kv delete`."""
    store, where = bench.connect(), bench.place()
    store.write(where, {"n": 1}, 0, bench.deadline())
    bench.delete(where)
    found = store.read(where, bench.deadline())
    assert (found.data, found.version) == (None, 1)
    with pytest.raises(CasMismatch):
        store.write(where, {"n": 2}, 0, bench.deadline())
    assert store.write(where, {"n": 2}, 1, bench.deadline()) == 2


def test_a_destroyed_version_reads_as_nothing_and_keeps_its_number(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    store.write(where, {"n": 1}, 0, bench.deadline())
    store.destroy(where, [1], bench.deadline())
    found = store.read(where, bench.deadline())
    assert (found.data, found.version, found.destroyed) == (None, 1, True)
    assert store.write(where, {"n": 2}, 1, bench.deadline()) == 2
    assert not store.read(where, bench.deadline()).destroyed


def test_an_empty_version_reads_as_one_and_destroyed_as_nothing(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    store.write(where, {"n": 1}, 0, bench.deadline())
    store.write(where, {}, 1, bench.deadline())
    assert store.read(where, bench.deadline()).data == {}
    store.destroy(where, [1, 2], bench.deadline())
    found = store.read(where, bench.deadline())
    assert (found.data, found.version, found.destroyed) == (None, 2, True)
    with pytest.raises(CasMismatch):
        store.write(where, {"n": 2}, 1, bench.deadline())


def test_on_kv_v1_documents_have_no_versions(bench: Bench) -> None:
    store, where = bench.connect(), bench.place(1)
    assert store.read(where, bench.deadline()).data is None
    assert store.write(where, {"n": 1}, None, bench.deadline()) == 0
    assert store.write(where, {"n": 2}, None, bench.deadline()) == 0
    found = store.read(where, bench.deadline())
    assert (found.data, found.version, found.deletes_at) == ({"n": 2}, 0, None)
    store.destroy(where, [], bench.deadline())
    assert store.read(where, bench.deadline()).data is None


def test_the_servers_time_is_told_with_each_answer(bench: Bench) -> None:
    """As an interval that has it."""
    store, where = bench.connect(), bench.place()
    store.write(where, {"n": 1}, 0, bench.deadline())
    created = store.read(where, bench.deadline()).created_at
    assert created is not None
    now = store.now()
    assert now.earliest <= bench.clock.wall() + 0.01
    assert created - 0.01 <= now.latest <= now.earliest + 1.0 + 5.0


def test_after_its_deadline_a_call_does_nothing(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    store.current_version(where, bench.deadline())
    with pytest.raises(VaultUnreachable):
        store.write(where, {"n": 1}, 0, bench.deadline(0))
    assert bench.connect().current_version(where, bench.deadline()) == 0


def test_our_own_right_to_write_is_told(bench: Bench) -> None:
    for new in (True, False):
        assert bench.connect().may_write(bench.place(), new, bench.deadline())


def test_what_is_noted_beside_a_document_leaves_the_rest_alone(bench: Bench) -> None:
    store, where = bench.connect(), bench.place()
    assert store.custom_metadata(where, bench.deadline()) == {}
    with pytest.raises(ConfigError):  # nothing is there to note it beside
        store.patch_custom_metadata(where, {"one": "1"}, bench.deadline())
    store.write(where, {"n": 1}, 0, bench.deadline())
    assert store.custom_metadata(where, bench.deadline()) == {}
    store.patch_custom_metadata(where, {"one": "1"}, bench.deadline())
    store.patch_custom_metadata(where, {"two": "2" * 512}, bench.deadline())
    store.write(where, {"n": 2}, 1, bench.deadline())
    assert bench.connect().custom_metadata(where, bench.deadline()) == {"one": "1", "two": "2" * 512}
    assert store.read(where, bench.deadline()).version == 2
