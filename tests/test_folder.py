"""A private folder: ours alone, no links followed, files replaced whole or not at all."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_ticket_plugin.folder import MAX_FILE_BYTES, STALE_SECONDS, Folder, FolderUnusable

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ours"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def temporary(path: Path, age: float) -> Path:
    """What a writer that was killed so many seconds ago has left."""
    left = path / ".new-0123456789abcdef"
    left.write_text("half a tok")
    left.chmod(0o600)
    os.utime(left, (time.time() - age,) * 2)
    return left


class TestOpening:
    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_a_new_folder_and_its_files_are_only_ours_whatever_the_umask(self, path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            with Folder(str(path)) as folder:
                folder.write("a", "text")
        finally:
            os.umask(before)
        assert (mode(path), mode(path / "a")) == (0o700, 0o600)

    def test_the_folders_above_it_are_made_too(self, tmp_path: Path) -> None:
        with Folder(str(tmp_path / "a" / "b" / "ours")) as folder:
            folder.write("a", "text")
        assert (tmp_path / "a" / "b" / "ours" / "a").read_text() == "text"

    def test_many_first_callers_at_once_all_get_it(self, tmp_path: Path) -> None:
        """The folders above are missing too: whoever loses the race to make one uses the winner's."""
        for turn in range(20):
            ready = threading.Barrier(8)
            failed: list[OSError] = []

            def open_it(turn: int = turn, ready: threading.Barrier = ready, failed: list[OSError] = failed) -> None:
                ready.wait(10)
                try:
                    Folder(str(tmp_path / f"above-{turn}" / "deeper" / "ours")).close()
                except OSError as error:
                    failed.append(error)

            threads = [threading.Thread(target=open_it) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failed == []

    def test_without_create_a_missing_one_is_not_made(self, path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Folder(str(path), create=False)
        assert not path.exists()

    @pytest.mark.parametrize("open_mode", [0o701, 0o710, 0o750, 0o755, 0o770, 0o777])
    def test_a_folder_open_to_others_is_refused(self, path: Path, open_mode: int) -> None:
        path.mkdir()
        path.chmod(open_mode)
        with pytest.raises(FolderUnusable, match=f"mode {open_mode:04o}, wanted 0700") as refused:
            Folder(str(path))
        assert str(refused.value).startswith(f"{path}: ")
        assert refused.value.strerror

    @as_root
    def test_a_folder_of_another_user_is_refused(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
        with pytest.raises(FolderUnusable, match="belongs to another user"):
            Folder(str(path))

    def test_a_link_in_its_place_is_refused(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match=r"."):
            Folder(str(path))

    def test_a_file_in_its_place_is_refused(self, path: Path) -> None:
        path.touch(0o600)
        with pytest.raises(NotADirectoryError):
            Folder(str(path))

    def test_a_refused_folder_leaves_no_descriptor_open(self, path: Path) -> None:
        path.mkdir()
        path.chmod(0o755)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(FolderUnusable):
                Folder(str(path))
        assert set(os.listdir("/proc/self/fd")) == before

    def test_a_folder_that_is_swapped_after_it_was_opened_stays_the_one_we_opened(
        self, path: Path, tmp_path: Path
    ) -> None:
        with Folder(str(path)) as folder:
            path.rename(tmp_path / "moved")
            path.mkdir()
            folder.write("a", "text")
            assert folder.read("a") == "text"
        assert (tmp_path / "moved" / "a").exists()
        assert not (path / "a").exists()

    def test_closing_twice_does_no_harm(self, path: Path) -> None:
        folder = Folder(str(path))
        folder.close()
        folder.close()


class TestReading:
    def test_what_was_written_is_read(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            folder.write("a", "tëxt\n\0\u2028")
            assert folder.read("a") == "tëxt\n\0\u2028"

    def test_a_missing_file_is_none(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            assert folder.read("a") is None

    def test_bytes_that_are_no_text_are_replaced(self, path: Path) -> None:
        """It is for the reader of the text to refuse it, not for us to fail."""
        with Folder(str(path)) as folder:
            folder.write("a", "")
            (path / "a").write_bytes(b"\xff\xfe text")
            assert folder.read("a") == "\ufffd\ufffd text"

    @pytest.mark.parametrize("open_mode", [0o604, 0o640, 0o644, 0o660, 0o602, 0o777])
    def test_a_file_open_to_others_is_refused(self, path: Path, open_mode: int) -> None:
        with Folder(str(path)) as folder:
            folder.write("a", "text")
            (path / "a").chmod(open_mode)
            with pytest.raises(FolderUnusable, match="wanted 0600"):
                folder.read("a")

    @as_root
    def test_a_file_of_another_user_is_refused(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            folder.write("a", "text")
            os.chown(path / "a", NOBODY, NOBODY)
            with pytest.raises(FolderUnusable, match="another user"):
                folder.read("a")

    @pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "socket"])
    def test_what_is_no_file_is_refused_at_once(self, path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fifo without a writer would keep a plain open waiting for ever."""
        with Folder(str(path)) as folder:
            folder.write("real", "text")
            monkeypatch.chdir(path)
            if kind == "link":
                os.symlink("real", "a")
            elif kind == "dangling link":
                os.symlink("nowhere", "a")
            elif kind == "folder":
                os.mkdir("a", 0o700)
            elif kind == "fifo":
                os.mkfifo("a", 0o600)
            else:
                with socket.socket(socket.AF_UNIX) as made:
                    made.bind("a")
            with pytest.raises(FolderUnusable):
                folder.read("a")

    def test_a_file_that_is_too_large_is_refused_unread(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            folder.write("a", "x" * MAX_FILE_BYTES)
            assert len(folder.read("a") or "") == MAX_FILE_BYTES
            with (path / "a").open("ab") as file:
                file.truncate(1 << 40)
            with pytest.raises(FolderUnusable, match="not a file of ours"):
                folder.read("a")


class TestWriting:
    @given(st.text(st.characters(codec="utf-8")))
    def test_any_text_comes_back(self, text: str) -> None:
        with tempfile.TemporaryDirectory() as made, Folder(made) as folder:
            folder.write("a", text)
            assert folder.read("a") == text
            assert folder.names() == ["a"]

    def test_a_link_is_replaced_and_not_written_through(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "victim").write_text("untouched")
        with Folder(str(path)) as folder:
            (path / "a").symlink_to(tmp_path / "victim")
            folder.write("a", "text")
            assert folder.read("a") == "text"
        assert (tmp_path / "victim").read_text() == "untouched"
        assert not (path / "a").is_symlink()

    def test_a_file_open_to_others_is_replaced_by_one_that_is_not(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            (path / "a").touch()
            (path / "a").chmod(0o666)
            folder.write("a", "text")
            assert mode(path / "a") == 0o600

    @pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
        self, path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with Folder(str(path)) as folder:
            folder.write("a", "old")
            monkeypatch.setattr(os, failing, fail)
            with pytest.raises(OSError, match="No space left"):
                folder.write("a", "new", durable=True)
            assert folder.read("a") == "old"
            assert os.listdir(path) == ["a"]

    def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, rest: write(fd, bytes(rest)[:3]))
        with Folder(str(path)) as folder:
            folder.write("a", "0123456789" * 10)
            assert folder.read("a") == "0123456789" * 10

    def test_a_durable_write_syncs_the_file_before_it_is_in_place_and_the_folder_after(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str] = []
        fsync, rename = os.fsync, os.rename

        def synced(fd: int) -> None:
            seen.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size}")
            fsync(fd)

        def renamed(old: str, new: str, src_dir_fd: int, dst_dir_fd: int) -> None:
            seen.append("rename")
            rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)
        with Folder(str(path)) as folder:
            folder.write("a", "text", durable=True)
            assert seen == ["file of 4", "rename", "folder"]
            folder.remove("a", durable=True)
            assert seen[3:] == ["folder"]
            folder.write("b", "text")
            assert seen[4:] == ["rename"]

    def test_removing_what_is_not_there_is_no_error(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            folder.remove("a", durable=True)

    def test_what_a_killed_writer_left_is_removed_by_the_next_write(self, path: Path) -> None:
        """It may hold a token."""
        with Folder(str(path)) as folder:
            left = temporary(path, STALE_SECONDS + 10)
            assert folder.names() == []
            folder.write("a", "text")
            assert not left.exists()

    def test_what_another_writer_is_writing_now_is_left_to_it(self, path: Path) -> None:
        with Folder(str(path)) as folder:
            left = temporary(path, STALE_SECONDS - 30)
            folder.write("a", "text")
            assert left.exists()
            assert folder.names() == ["a"]


WRITER = """
import os, sys
from vault_ticket_plugin.folder import Folder
path, letter, stop = sys.argv[1:]
with Folder(path) as folder:
    while not os.path.exists(stop):
        folder.write("a", letter * 20_000)
"""


def test_a_reader_never_sees_half_a_file_while_three_processes_write_it(path: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    with Folder(str(path)) as folder:
        folder.write("a", "0" * 20_000)
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter, stop]) for letter in "ABC"]
        try:
            seen: set[str] = set()
            deadline = time.monotonic() + 60
            while not seen >= set("ABC") and time.monotonic() < deadline:
                text = folder.read("a")
                assert text is not None
                assert len(text) == 20_000
                assert len(set(text)) == 1
                seen.add(text[0])
        finally:
            stop.touch()
            codes = [writer.wait(30) for writer in writers]
        assert seen >= set("ABC")
        assert codes == [0, 0, 0]
        assert os.listdir(path) == ["a"]
