"""Entries in folders of another environment are found, and folders that can't be trusted are named."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.refresh.test_journal import CAUSE, ENTRY
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.places import Places
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_folders import MAX_SIGNPOSTS
from vault_ticket_plugin.secret import Secret


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """The user's state folder that no variable names."""
    return tmp_path / "fixed"


class Environment:
    """One in which calls of this user have folders of their own, beside `fixed`."""

    def __init__(self, folder: Path, fixed: Path) -> None:
        self.runtime, self.state = folder / "run", folder / "state"
        self.open = Folder(str(self.runtime))
        places = Places((str(self.runtime),), (str(self.state), str(fixed)), (str(fixed),), str(fixed))
        self.journal = Journal(self.open, lambda: places)


@pytest.fixture
def login(tmp_path: Path, fixed: Path) -> Iterator[Environment]:
    made = Environment(tmp_path / "login", fixed)
    yield made
    made.open.close()


@pytest.fixture
def cron(tmp_path: Path, fixed: Path) -> Iterator[Environment]:
    made = Environment(tmp_path / "cron", fixed)
    yield made
    made.open.close()


def signposts(fixed: Path) -> list[str]:
    return sorted(path.read_text() for path in fixed.glob("*.elsewhere")) if fixed.exists() else []


class TestSignposts:
    def test_what_memory_has_is_found_from_elsewhere(self, login: Environment, cron: Environment, fixed: Path) -> None:
        cron.journal.write(ENTRY)
        assert signposts(fixed) == [str(cron.runtime)]
        assert [found.entry for found in login.journal.look()] == [ENTRY]

    def test_what_a_disk_has_is_found_from_elsewhere(self, login: Environment, cron: Environment, fixed: Path) -> None:
        cron.journal.write(ENTRY)
        cron.journal.keep(ENTRY, CAUSE)
        assert signposts(fixed) == [str(cron.state)]
        assert [found.entry for found in login.journal.look()] == [ENTRY]

    def test_they_are_only_ours(self, cron: Environment, fixed: Path) -> None:
        cron.journal.write(ENTRY)
        (signpost,) = fixed.iterdir()
        assert (signpost.stat().st_mode & 0o777, fixed.stat().st_mode & 0o777) == (0o600, 0o700)

    def test_one_goes_with_its_folders_last_entry(self, login: Environment, cron: Environment, fixed: Path) -> None:
        other = ENTRY._replace(refresh_token=Secret("another"))
        cron.journal.write(ENTRY)
        cron.journal.write(other)
        login.journal.remove(ENTRY)
        assert signposts(fixed) == [str(cron.runtime)]
        login.journal.remove(other)
        assert signposts(fixed) == []

    def test_none_is_left_where_every_call_looks_anyway(self, tmp_path: Path, fixed: Path) -> None:
        with Folder(str(tmp_path / "run")) as runtime:
            places = Places((runtime.path,), (str(fixed),), (runtime.path, str(fixed)), str(fixed))
            Journal(runtime, lambda: places).write(ENTRY)
        assert not fixed.exists()

    def test_there_are_sixteen_at_most(self, tmp_path: Path, fixed: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A seventeenth is not left, and its entry still written."""
        made = [Environment(tmp_path / f"environment-{number}", fixed) for number in range(MAX_SIGNPOSTS + 1)]
        for one in made[:-1]:
            one.journal.write(ENTRY)
        assert caplog.text == ""
        made[-1].journal.write(ENTRY)
        assert len(signposts(fixed)) == MAX_SIGNPOSTS
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "too many signposts" in caplog.text
        assert [found.entry for found in made[-1].journal.look()] == [ENTRY]
        for one in made:
            one.open.close()

    def test_one_whose_folder_is_gone_makes_room(self, tmp_path: Path, fixed: Path) -> None:
        made = [Environment(tmp_path / f"environment-{number}", fixed) for number in range(MAX_SIGNPOSTS + 1)]
        for one in made[:-1]:
            one.journal.write(ENTRY)
        shutil.rmtree(made[3].runtime)
        made[-1].journal.write(ENTRY)
        assert str(made[-1].runtime) in signposts(fixed)
        assert str(made[3].runtime) not in signposts(fixed)
        for one in made:
            one.open.close()

    @pytest.mark.parametrize("text", ["", "relative", "/nowhere", "\n", "/a\0b"])
    def test_one_that_leads_nowhere_is_passed_over(self, login: Environment, fixed: Path, text: str) -> None:
        with Folder(str(fixed)) as folder:
            folder.write("0123456789abcdef.elsewhere", text)
        login.journal.write(ENTRY)
        assert [found.entry for found in login.journal.look()] == [ENTRY]

    def test_without_a_fixed_folder_the_entry_is_written_all_the_same(self, login: Environment, fixed: Path) -> None:
        fixed.write_text("a file where the folder should be")
        login.journal.write(ENTRY)
        assert [found.entry for found in login.journal.look()] == [ENTRY]


class TestDistrusted:
    def look(self, login: Environment) -> list[str]:
        return [found.folder for found in login.journal.look() if found.entry is None]

    def test_one_that_others_can_write_is_named(self, login: Environment) -> None:
        """An entry of ours may have been taken away."""
        login.state.mkdir()
        login.state.chmod(0o777)
        assert self.look(login) == [str(login.state)]
        assert login.journal.waits()

    def test_one_that_others_can_read_is_named_if_an_entry_is_in_it(self, login: Environment) -> None:
        """A unit's StateDirectory=, say, which is open by default, is no place that we would have written to."""
        login.state.mkdir(mode=0o755)
        assert self.look(login) == []
        (login.state / ENTRY.name).touch()
        assert self.look(login) == [str(login.state)]

    def test_the_next_folder_takes_what_it_does_not(self, login: Environment, fixed: Path) -> None:
        login.state.mkdir(mode=0o755)
        login.journal.write(ENTRY)
        login.journal.keep(ENTRY, CAUSE)
        assert [path.name for path in fixed.iterdir()] == [ENTRY.name]
        assert [path.name for path in login.state.iterdir()] == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_strangers_in_memory_is_passed_over(self, login: Environment) -> None:
        """Anybody can make a folder in /dev/shm, and must not keep us from refreshing; one on disk was given away."""
        for folder in (login.runtime, login.state):
            folder.mkdir(exist_ok=True)
            (folder / ENTRY.name).touch()
            os.chown(folder, 12345, 12345)
        places = Places((str(login.runtime),), (str(login.state),), (), None)
        assert [found.folder for found in Journal(None, lambda: places).look()] == [str(login.state)]

    def test_one_that_is_a_link_is_passed_over(self, login: Environment, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / ENTRY.name).touch()
        login.state.symlink_to(tmp_path / "real")
        assert login.journal.look() == []
