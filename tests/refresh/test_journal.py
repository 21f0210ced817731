"""The journal: a rotated refresh token is kept through memory and disk, and an unreadable one is never passed over."""

import json
import logging
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import ADDRESS
from vault_ticket_plugin.errors import SaveFailed, StoredDataInvalid, VaultUnreachable
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.model import ClientIdentity, Location
from vault_ticket_plugin.places import Places
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry, text_of
from vault_ticket_plugin.secret import Secret

MARK = "m4rk3d-rotated-token"
CAUSE = VaultUnreachable("Vault is sealed", "Unseal it.")
ENTRY = Entry(
    kind="rotation",
    profile="support",
    grant=ADDRESS.key,
    where=Location("secret", "ticket/support/grant"),
    spent="fedcba9876543210",
    refresh_token=Secret(MARK),
    client=None,
    at=1_800_000_000.5,
    version=7,
    document=ADDRESS.document,
    server=ADDRESS.server,
)
SEED = ENTRY._replace(kind="seed", client=ClientIdentity("4711"))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Folder]:
    with Folder(str(tmp_path / "run")) as folder:
        yield folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vault-ticket"


@pytest.fixture
def journal(runtime: Folder, state: Path) -> Journal:
    return journal_of(runtime, state)


def journal_of(runtime: Folder | None, state: Path, *more: Path) -> Journal:
    """One whose folders all follow from the user; `more` are tried where `state` does not take it."""
    memory = (runtime.path,) if runtime is not None else ()
    disk = (str(state), *map(str, more))
    return Journal(runtime, lambda: Places(memory, disk, (*memory, *disk), str(state)))


def waiting(journal: Journal) -> list[Entry]:
    """What waits; the first that can't be read is an error."""
    found = journal.look()
    for one in found:
        if one.entry is None:
            raise one.trouble()
    return [one.entry for one in found if one.entry is not None]


def files(*folders: Path) -> list[Path]:
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


@pytest.mark.parametrize("entry", [ENTRY, SEED], ids=lambda entry: entry.kind)
def test_an_entry_waits_in_memory_until_it_is_removed(
    journal: Journal, runtime: Folder, state: Path, entry: Entry
) -> None:
    assert waiting(journal) == []
    journal.write(entry)
    assert waiting(journal) == [entry]
    assert not state.exists()
    journal.remove(entry)
    assert waiting(journal) == []
    assert runtime.names() == []


def test_what_vault_does_not_take_moves_to_the_disk_and_is_told_loudly(
    journal: Journal, runtime: Folder, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.write(ENTRY)
    journal.keep(ENTRY, CAUSE)
    assert runtime.names() == []
    assert waiting(journal) == [ENTRY]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Vault is sealed" in caplog.text
    assert str(state / ENTRY.name) in caplog.text
    journal.remove(ENTRY)
    assert waiting(journal) == []
    assert files(state) == []


def test_another_process_finds_it(journal: Journal, tmp_path: Path, state: Path) -> None:
    journal.keep(ENTRY, CAUSE)
    with Folder(str(tmp_path / "run")) as again:
        assert waiting(journal_of(again, state)) == [ENTRY]
    assert waiting(journal_of(None, state)) == [ENTRY]


def test_a_file_is_named_by_what_was_spent_and_what_it_was_rotated_to() -> None:
    new = Secret(MARK).fingerprint()
    assert ENTRY.name == f"fedcba9876543210-{new}.journal"
    assert SEED.name == f"seed-{ADDRESS.document}-{new}.journal"


def test_several_wait_each_under_its_own_name(journal: Journal) -> None:
    other = ENTRY._replace(refresh_token=Secret("newer"))
    for one in (ENTRY, other, SEED):
        journal.write(one)
    assert {one.name for one in waiting(journal)} == {ENTRY.name, other.name, SEED.name}
    assert journal.count() == 3


def test_only_the_very_one_is_removed_in_all_folders(journal: Journal, runtime: Folder) -> None:
    other = ENTRY._replace(refresh_token=Secret("newer"))
    journal.keep(ENTRY, CAUSE)
    journal.keep(other, CAUSE)
    journal.write(ENTRY)
    runtime.write(f"{ENTRY.spent}-{'0' * 16}.journal", "not read by anybody")
    journal.remove(ENTRY)
    assert [one.name for one in journal.look()] == [f"{ENTRY.spent}-{'0' * 16}.journal", other.name]


def test_one_that_lies_in_two_folders_is_one(journal: Journal, runtime: Folder) -> None:
    """A copy that can't be read does not hide the other."""
    journal.keep(ENTRY, CAUSE)
    runtime.write(ENTRY.name, "{")
    assert waiting(journal) == [ENTRY]
    assert journal.count() == 1


class TestLatest:
    def test_it_is_what_the_token_was_rotated_to_in_the_end(self, journal: Journal) -> None:
        first = ENTRY._replace(spent=Secret("a-1").fingerprint(), refresh_token=Secret("a-2"))
        journal.write(first)
        journal.write(SEED._replace(spent=Secret("a-2").fingerprint(), refresh_token=Secret("a-3")))
        assert journal.latest(Secret("a-1"), ADDRESS) == Secret("a-3")

    def test_it_is_the_token_itself_where_nothing_is_known(self, journal: Journal) -> None:
        journal.write(ENTRY)
        assert journal.latest(Secret("b-1"), ADDRESS) == Secret("b-1")

    def test_one_that_can_not_be_read_may_know_better(self, journal: Journal, runtime: Folder) -> None:
        runtime.write(f"seed-{ADDRESS.document}-{'0' * 16}.journal", "{")
        with pytest.raises(StoredDataInvalid, match="can't be read"):
            journal.latest(Secret("a-1"), ADDRESS)

    def test_a_circle_ends(self, journal: Journal) -> None:
        """A server that gives an old one again."""
        journal.write(ENTRY._replace(spent=Secret("a-1").fingerprint(), refresh_token=Secret("a-2")))
        journal.write(ENTRY._replace(spent=Secret("a-2").fingerprint(), refresh_token=Secret("a-1")))
        assert journal.latest(Secret("a-1"), ADDRESS) == Secret("a-1")


class TestFormat:
    def test_what_is_written_has_a_number(self) -> None:
        assert json.loads(text_of(ENTRY))["format"] == 1

    def test_one_without_a_number_is_of_the_first(self, journal: Journal, runtime: Folder) -> None:
        plain = json.loads(text_of(ENTRY))
        del plain["format"]
        runtime.write(ENTRY.name, json.dumps(plain))
        assert waiting(journal) == [ENTRY]

    def test_a_newer_one_is_not_understood_and_says_so(self, journal: Journal, runtime: Folder) -> None:
        runtime.write(ENTRY.name, json.dumps({"format": 2, "whatever": "else"}))
        (found,) = journal.look()
        assert (found.entry, found.newer) == (None, True)
        assert "Upgrade vault-ticket here" in found.trouble().hint


class TestAdopting:
    """Older programs named an entry by profile and grant."""

    OLD = f"support-{ADDRESS.key}.journal"

    def old(self, entry: Entry) -> str:
        plain = json.loads(text_of(entry))
        return json.dumps({key: plain[key] for key in plain if key not in ("format", "document", "server")})

    @pytest.mark.parametrize("entry", [ENTRY, SEED], ids=["rotation", "seed"])
    @pytest.mark.parametrize("place", ["runtime", "state"])
    def test_it_gets_its_name_where_it_lies(
        self, journal: Journal, runtime: Folder, state: Path, entry: Entry, place: str
    ) -> None:
        with Folder(str(state)) as disk:
            folder = runtime if place == "runtime" else disk
            folder.write(self.OLD, self.old(entry))
            assert [found.entry for found in journal.adopt(ADDRESS)] == [entry]
            assert folder.names() == [entry.name]
        assert waiting(journal) == [entry]

    def test_a_seed_of_another_grant_keeps_its_name(self, journal: Journal, runtime: Folder) -> None:
        runtime.write(self.OLD, self.old(SEED))
        journal.adopt(ADDRESS._replace(key="0" * 16))
        assert runtime.names() == [self.OLD]

    def test_one_that_can_not_be_renamed_is_still_read(
        self, journal: Journal, runtime: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runtime.write(self.OLD, self.old(ENTRY))

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Folder, "write", full)
        assert [found.entry for found in journal.adopt(ADDRESS)] == [ENTRY]
        assert runtime.names() == [self.OLD]


def test_a_line_says_since_when_and_where_it_belongs(journal: Journal) -> None:
    journal.write(ENTRY)
    (found,) = journal.look()
    line = found.line(ENTRY.at + 90)
    assert line == (
        "a refresh token waits on this host since 2027-01-15T08:00:00Z (1m30s) "
        "for secret/ticket/support/grant in Vault at https://vault.test, of profile support"
    )


def test_files_and_folders_are_only_ours(journal: Journal, tmp_path: Path, state: Path) -> None:
    before = os.umask(0)
    try:
        journal.write(ENTRY)
        assert stat.S_IMODE((tmp_path / "run" / ENTRY.name).stat().st_mode) == 0o600
        journal.keep(ENTRY, CAUSE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((state / ENTRY.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_the_disk_has_file_and_folder_before_keep_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def seen(fd: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen)
    journal.write(ENTRY)
    assert synced == []
    journal.keep(ENTRY, CAUSE)
    assert synced == [False, True]


def test_without_a_runtime_folder_the_disk_takes_it_at_once(state: Path) -> None:
    journal = journal_of(None, state)
    journal.write(ENTRY)
    assert [path.name for path in files(state)] == [ENTRY.name]
    assert waiting(journal) == [ENTRY]
    journal.remove(ENTRY)
    assert waiting(journal) == []


class TestNoRoom:
    def fill(self, monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
        """No file in these folders takes another byte."""
        write = os.write

        def full(fd: int, data: bytes) -> int:
            place = os.readlink(f"/proc/self/fd/{fd}")
            if place.startswith(tuple(f"{folder}/" for folder in folders)):
                raise OSError(28, "No space left on device")
            return write(fd, data)

        monkeypatch.setattr(os, "write", full)

    def test_where_memory_is_full_the_disk_takes_it_at_once(
        self, journal: Journal, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fill(monkeypatch, tmp_path / "run")
        journal.write(ENTRY)
        assert [path.name for path in files(tmp_path / "run", state)] == [ENTRY.name]
        assert waiting(journal) == [ENTRY]

    def test_where_the_disk_is_full_the_error_says_that_it_is_only_in_memory(
        self, journal: Journal, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fill(monkeypatch, state)
        journal.write(ENTRY)
        with pytest.raises(SaveFailed) as failed:
            journal.keep(ENTRY, CAUSE)
        assert "Vault is sealed" in failed.value.message
        assert "No space left on device" in failed.value.message
        assert f"{tmp_path / 'run' / ENTRY.name}, in memory only" in failed.value.hint
        assert waiting(journal) == [ENTRY]
        assert MARK not in failed.value.message + failed.value.hint

    def test_where_nothing_can_have_it_writing_warns_and_keeping_says_that_it_is_lost(
        self,
        journal: Journal,
        tmp_path: Path,
        state: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Writing only warns: Vault may still take the token."""
        self.fill(monkeypatch, state, tmp_path / "run")
        journal.write(ENTRY)
        assert "No space left on device" in caplog.text
        with pytest.raises(SaveFailed) as failed:
            journal.keep(ENTRY, CAUSE)
        assert failed.value.hint.startswith("It is lost.")
        assert "vault-ticket store support" in failed.value.hint
        assert files(state, tmp_path / "run") == []
        assert MARK not in caplog.text + failed.value.message + failed.value.hint

    def test_a_state_folder_that_is_not_safe_is_named_as_the_reason(self, journal: Journal, state: Path) -> None:
        state.mkdir(parents=True)
        state.chmod(0o755)
        journal.write(ENTRY)
        with pytest.raises(SaveFailed, match="Disk: is open to other users: mode 0755, wanted 0700"):
            journal.keep(ENTRY, CAUSE)
        assert files(state) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
    def test_a_file_system_that_is_really_full(self, state: Path, tmp_path: Path) -> None:
        """64 KiB of real memory, all taken: what was there stays, and the disk takes the entry."""
        memory = tmp_path / "memory"
        memory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(memory)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with Folder(str(memory)) as folder:
                with pytest.raises(OSError, match="No space left"):
                    folder.write("filler", "x" * (1 << 20))
                assert folder.names() == []
                folder.write("filler", "x" * 60 * 1024)
                while True:
                    try:
                        with (memory / "more").open("ab", buffering=0) as more:
                            more.write(b"x" * 512)
                    except OSError:
                        break
                journal = journal_of(folder, state)
                journal.write(ENTRY)
                assert [path.name for path in files(state)] == [ENTRY.name]
                assert waiting(journal) == [ENTRY]
                assert sorted(os.listdir(memory)) == ["filler", "more"]
        finally:
            subprocess.run(["umount", memory], check=True)


class TestUnreadable:
    @pytest.mark.parametrize("on_disk", [False, True])
    @pytest.mark.parametrize(
        "content",
        [
            *("", "{", "null", "[]", '"text"', "5", "{}", '{"where": 5}', "[" * 5000),
            json.dumps({"where": {"mount": "a"}, "refresh_token": MARK}),
            json.dumps({"where": {"mount": "a", "path": "b", "more": 1}, "refresh_token": MARK}),
            json.dumps({"where": {"mount": "a", "path": "b"}, "refresh_token": MARK}),
            json.dumps({"where": {"mount": "a", "path": "b"}, "refresh_token": 5}),
            json.dumps({"where": {"mount": "a", "path": "b"}, "refresh_token": ""}),
        ],
        ids=range(14),
    )
    def test_one_that_cant_be_understood_is_an_error_that_names_it(
        self, journal: Journal, runtime: Folder, state: Path, content: str, on_disk: bool
    ) -> None:
        """It may hold the only good refresh token: nothing is spent before a person has looked."""
        with Folder(str(state)) as disk:
            (disk if on_disk else runtime).write(ENTRY.name, content)
        place = state if on_disk else runtime.path
        with pytest.raises(StoredDataInvalid, match=f"the journal {place}/{ENTRY.name} can't be read") as loud:
            waiting(journal)
        assert MARK not in loud.value.message + loud.value.hint

    @pytest.mark.parametrize("how", ["open to others", "a link", "a fifo", "huge"])
    def test_one_that_is_not_safe_to_read_is_an_error_that_names_it(
        self, journal: Journal, tmp_path: Path, how: str
    ) -> None:
        journal.write(ENTRY)
        path = tmp_path / "run" / ENTRY.name
        if how == "open to others":
            path.chmod(0o644)
        elif how == "a link":
            path.rename(tmp_path / "run" / "real")
            path.symlink_to("real")
        elif how == "a fifo":
            path.unlink()
            os.mkfifo(path, 0o600)
        else:
            os.truncate(path, 1 << 30)
        with pytest.raises(StoredDataInvalid, match="can't be read"):
            waiting(journal)

    def test_it_concerns_whom_its_name_says(self, journal: Journal, runtime: Folder) -> None:
        token = Secret("a-1")
        for name in (f"{token.fingerprint()}-{'0' * 16}", f"seed-{ADDRESS.document}-{'0' * 16}", f"x-{ADDRESS.key}"):
            runtime.write(f"{name}.journal", "{")
            assert [found.path for found in journal.look() if found.concerns(token, ADDRESS)] == [
                f"{runtime.path}/{name}.journal"
            ]
            runtime.remove(f"{name}.journal")
        runtime.write("other-00aa00aa00aa00aa.journal", "{")
        assert not [found for found in journal.look() if found.concerns(token, ADDRESS)]

    def test_half_an_entry_that_a_killed_writer_left_is_none(self, journal: Journal, tmp_path: Path) -> None:
        """It is not in place yet, so nothing was done that relies on it."""
        (tmp_path / "run" / ".new-00").write_text("{")
        assert waiting(journal) == []

    @given(damage=st.binary(min_size=1, max_size=8), at=st.integers(0, 400))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_damage_is_an_error_or_an_entry_and_nothing_else(
        self, journal: Journal, tmp_path: Path, damage: bytes, at: int
    ) -> None:
        journal.write(ENTRY)
        path = tmp_path / "run" / ENTRY.name
        content = path.read_bytes()
        path.write_bytes(content[:at] + damage + content[at + len(damage) :])
        try:
            (found,) = waiting(journal)
        except StoredDataInvalid as error:
            assert MARK not in error.message + error.hint  # noqa: PT017 - both ends are right
        else:
            assert found.refresh_token


def test_nothing_that_is_shown_has_the_token(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    journal.write(ENTRY)
    journal.keep(ENTRY, CAUSE)
    shown = f"{ENTRY} {ENTRY!r} {waiting(journal)} {caplog.text} {vars(journal)}"
    assert MARK not in shown
    assert MARK not in ENTRY.name
