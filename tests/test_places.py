"""Where a journal's entries may lie: what follows from the user alone, and what the environment names."""

import logging
import os
from collections.abc import Mapping

import pytest

from vault_ticket_plugin import environment, password_database
from vault_ticket_plugin.places import Places, places

USER = 4711
LOGIN = {"HOME": "/home/a", "XDG_RUNTIME_DIR": f"/run/user/{USER}", "XDG_STATE_HOME": "/data/a"}
CRON = {"HOME": "/home/a"}
SUDO = {"HOME": "/home/another"}
UNIT = {"STATE_DIRECTORY": "/var/lib/ours:/var/lib/more", "RUNTIME_DIRECTORY": "/run/ours"}


@pytest.fixture(autouse=True)
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root, with a login session and an entry in the password database."""
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == f"/run/user/{USER}")
    monkeypatch.setattr(password_database, "home", lambda _user: "/home/a")


@pytest.mark.parametrize("environ", [LOGIN, CRON, SUDO, UNIT, {}], ids=["login", "cron", "sudo", "unit", "nothing"])
def test_what_follows_from_the_user_is_looked_into_under_any_environment(environ: Mapping[str, str]) -> None:
    found = places(environ)
    fixed = {f"/run/user/{USER}/vault-ticket", f"/dev/shm/vault-ticket-{USER}", "/home/a/.local/state/vault-ticket"}
    assert set(found.fixed) == fixed
    assert fixed <= {*found.runtime, *found.state}
    assert found.signposts == "/home/a/.local/state/vault-ticket"


def test_what_the_environment_names_comes_first() -> None:
    assert places(LOGIN).state == ("/data/a/vault-ticket", "/home/a/.local/state/vault-ticket")
    assert places(UNIT).state[0] == "/var/lib/ours"
    assert places(UNIT).runtime[0] == "/run/ours"
    assert places(SUDO).state == ("/home/another/.local/state/vault-ticket", "/home/a/.local/state/vault-ticket")


def test_each_is_there_once() -> None:
    assert places(CRON).state == ("/home/a/.local/state/vault-ticket",)
    assert places(LOGIN).runtime == (f"/run/user/{USER}/vault-ticket", f"/dev/shm/vault-ticket-{USER}")


def test_roots_own_login_session_is_looked_into_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/user/0")
    assert places({}).runtime == (environment.ROOT_RUNTIME, "/run/user/0/vault-ticket")
    assert set(places({"XDG_RUNTIME_DIR": "/run/user/0"}).runtime) <= set(places({}).fixed)


def test_roots_need_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(password_database, "home", lambda _user: pytest.fail("asked"))
    root = (environment.ROOT_RUNTIME, environment.ROOT_STATE)
    assert places({}) == Places(root[:1], root[1:], root, environment.ROOT_STATE)


def test_without_an_entry_in_the_password_database_home_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has a number only; also where the database gives no answer."""
    monkeypatch.setattr(password_database, "home", lambda _user: None)
    found = places({"HOME": "/work"})
    assert (found.state, found.signposts) == (("/work/.local/state/vault-ticket",), "/work/.local/state/vault-ticket")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "~"}])
def test_without_either_there_is_no_state_folder_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, environ: dict[str, str]
) -> None:
    """And none that is named `~`."""
    monkeypatch.setattr(password_database, "home", lambda _user: None)
    found = places(environ)
    assert (found.state, found.signposts) == ((), None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no home folder" in caplog.text
