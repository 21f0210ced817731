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

from vault_ticket_plugin.errors import SaveFailed, StoredDataInvalid, VaultUnreachable
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.model import ClientIdentity, Location
from vault_ticket_plugin.refresh.journal import Entry, Journal
from vault_ticket_plugin.secret import Secret

MARK = "m4rk3d-rotated-token"
CAUSE = VaultUnreachable("Vault is sealed", "Unseal it.")
ENTRY = Entry(
    kind="rotation",
    profile="support",
    grant="0123456789abcdef",
    where=Location("secret", "ticket/support/grant"),
    spent="fedcba9876543210",
    refresh_token=Secret(MARK),
    client=None,
    at=1_800_000_000.5,
    version=7,
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
    return Journal(runtime, str(state))


def waiting(journal: Journal) -> list[Entry]:
    return journal.waiting(ENTRY.profile, ENTRY.grant)


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
        assert waiting(Journal(again, str(state))) == [ENTRY]
    assert waiting(Journal(None, str(state))) == [ENTRY]


def test_an_entry_belongs_to_its_profile_and_its_grant(journal: Journal) -> None:
    journal.write(ENTRY)
    assert journal.waiting("support", "another grant") == []
    assert journal.waiting("other", ENTRY.grant) == []
    assert journal.waiting("supp", f"ort-{ENTRY.grant}") == []


def test_a_newer_entry_in_memory_stands_before_an_older_one_on_disk(journal: Journal) -> None:
    """Both go when the newer one is saved: a seed has replaced what the older one was about."""
    journal.keep(ENTRY, CAUSE)
    newer = SEED._replace(refresh_token=Secret("newer"))
    journal.write(newer)
    assert waiting(journal) == [newer]
    journal.remove(newer)
    assert waiting(journal) == []


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
    journal = Journal(None, str(state))
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
                journal = Journal(folder, str(state))
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

    def test_a_broken_one_of_another_grant_is_not_ours_to_mind(self, journal: Journal, runtime: Folder) -> None:
        runtime.write("other-0123456789abcdef.journal", "{")
        assert waiting(journal) == []

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
