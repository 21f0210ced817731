"""A file for a secret: private from its first moment, never over another, never left behind empty."""

import stat
from pathlib import Path

import pytest

from vault_ticket_plugin import secret_file
from vault_ticket_plugin.errors import ConfigError, VaultDenied
from vault_ticket_plugin.secret import Secret


def test_it_is_private_and_holds_one_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret_file.write_new(str(path), lambda: Secret("hidden"))
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, "hidden\n")
    assert secret_file.read(str(path)) == Secret("hidden")


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder"])
def test_what_is_there_is_not_written_over_and_no_secret_is_made(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "secret", tmp_path / "other"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("theirs")
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_text("theirs")
    made: list[int] = []

    def make() -> Secret:
        made.append(1)
        return Secret("hidden")

    with pytest.raises(ConfigError, match="can't be used for a secret"):
        secret_file.write_new(str(path), make)
    assert made == []
    assert kind == "folder" or not other.exists() or other.read_text() == "theirs"


def test_where_no_secret_can_be_had_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    def denied() -> Secret:
        raise VaultDenied("no")

    with pytest.raises(VaultDenied):
        secret_file.write_new(str(path), denied)
    assert not path.exists()


def test_reading_tells_nothing_from_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert secret_file.read(str(path)) is None
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is no text"):
        secret_file.read(str(path))
