"""What the environment decides: variables, the configuration's place, our folders."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_ticket_plugin import environment, password_database
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.environment import environment_key
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.wiring import wired

NAMES = st.sampled_from(environment.SERVER_NAMES)


@pytest.mark.parametrize("name", environment.SERVER_NAMES)
def test_baos_variable_comes_before_vaults_and_an_empty_one_counts_as_unset(name: str) -> None:
    both = {f"BAO_{name}": "one", f"VAULT_{name}": "two"}
    assert environment.server_variable(both, name) == (f"BAO_{name}", "one")
    assert environment.server_variable(both | {f"BAO_{name}": ""}, name) == (f"VAULT_{name}", "two")
    assert environment.server_variable(dict.fromkeys(both, ""), name) is None
    assert environment.server_variable({}, name) is None


def test_the_profile_is_the_given_one_else_the_variables_else_default() -> None:
    environ = {"VAULT_TICKET_PROFILE": "fromenv"}
    assert environment.profile_name(environ, "given") == "given"
    assert environment.profile_name(environ, None) == "fromenv"
    assert environment.profile_name({"VAULT_TICKET_PROFILE": ""}, None) == "default"
    assert environment.profile_name({}, None) == "default"


@pytest.mark.parametrize("name", ["a", "support", "Team-1.prod_x", "0", "_", "a" * 64])
def test_names_that_can_be_a_files_name_are_profiles(name: str) -> None:
    assert environment.is_profile_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-v", "--force", "a/b", "a b", "a\n", "ä", "a" * 65, "a\0", "a*"]
)
def test_other_names_are_none(name: str) -> None:
    assert not environment.is_profile_name(name)


@given(st.text())
def test_a_profiles_name_never_leaves_its_folder(name: str) -> None:
    if environment.is_profile_name(name):
        assert os.path.basename(name) == name
        assert name not in (".", "..")


class TestConfigPath:
    @pytest.fixture
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
        """The three places, all with a file. /etc is moved to where a test may write."""
        join = os.path.join
        monkeypatch.setattr(
            os.path, "join", lambda *parts: join(*(str(tmp_path) + p if p == "/etc" else p for p in parts))
        )
        found = {
            "XDG_CONFIG_HOME": tmp_path / "xdg" / "vault-ticket" / "config.toml",
            "HOME": tmp_path / "home" / ".config" / "vault-ticket" / "config.toml",
            "etc": tmp_path / "etc" / "vault-ticket" / "config.toml",
        }
        for path in found.values():
            path.parent.mkdir(parents=True)
            path.touch()
        return found

    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}

    def test_the_named_file_is_first_even_if_it_is_not_there(self, tmp_path: Path, places: dict[str, Path]) -> None:
        named = str(tmp_path / "elsewhere.toml")
        assert environment.config_path({**self.environ(tmp_path), "VAULT_TICKET_CONFIG": named}) == named
        assert places["XDG_CONFIG_HOME"].exists()

    def test_then_the_configuration_folder_then_homes_then_etc(self, tmp_path: Path, places: dict[str, Path]) -> None:
        environ = self.environ(tmp_path) | {"VAULT_TICKET_CONFIG": ""}
        assert environment.config_path(environ) == str(places["XDG_CONFIG_HOME"])
        places["XDG_CONFIG_HOME"].unlink()
        assert environment.config_path(environ) == str(places["etc"])
        environ["XDG_CONFIG_HOME"] = ""
        assert environment.config_path(environ) == str(places["HOME"])
        places["HOME"].unlink()
        assert environment.config_path(environ) == str(places["etc"])
        places["etc"].unlink()
        assert environment.config_path(environ) is None


class TestWithoutHome:
    """HOME is not set, as in a unit without User=: nothing of ours may be named `~`."""

    @pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "~"}, {"HOME": "relative"}])
    def test_the_password_database_is_asked(self, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
        monkeypatch.setattr(password_database, "home", lambda _user: "/home/a")
        assert environment.home(environ) == "/home/a"
        assert environment.token_path(environ) == "/home/a/.vault-token"

    def test_where_it_has_none_either_there_is_no_such_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(password_database, "home", lambda _user: None)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert environment.home({}) is None
        assert environment.token_path({}) is None
        assert environment.state_path({}) is None
        assert environment.config_path({}) in (None, "/etc/vault-ticket/config.toml")

    def test_a_configured_path_below_it_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(password_database, "home", lambda _user: None)
        monkeypatch.delenv("HOME", raising=False)
        config = tmp_path / "config.toml"
        config.write_text('[vault]\naddress = "https://v.test"\nauth = { method = "token", token_file = "~/token" }\n')
        with pytest.raises(ConfigError, match="HOME is not set"):
            load_settings({"VAULT_TICKET_CONFIG": str(config)})

    def test_without_a_login_the_error_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(password_database, "home", lambda _user: None)
        settings = load_settings({"VAULT_ADDR": "https://v.test"})
        with wired(settings, {}) as wiring, pytest.raises(ConfigError, match="no way to log in"):
            wiring.session.have_token(Deadline.after(1))

    def test_the_warm_path_does_not_need_it_where_a_variable_names_the_configuration(self) -> None:
        assert environment.names_config({"HOME": "/home/a"})
        assert environment.names_config({"XDG_CONFIG_HOME": "/c"})
        assert environment.names_config({"VAULT_TICKET_CONFIG": "c.toml"})
        assert not environment.names_config({"HOME": "~", "XDG_CONFIG_HOME": ""})


def test_the_runtime_folder_is_in_the_sessions_else_systemds_else_the_systems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = {"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/ours:/run/other"}
    assert environment.runtime_path(both) == "/run/user/7/vault-ticket"
    assert environment.runtime_path({**both, "XDG_RUNTIME_DIR": ""}) == "/run/ours"
    assert environment.runtime_path({"RUNTIME_DIRECTORY": "relative"}) == environment.users_runtime_paths()[0]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert environment.runtime_path({}) == environment.ROOT_RUNTIME
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/user/4711")
    assert environment.runtime_path({}) == "/run/user/4711/vault-ticket"
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert environment.runtime_path({}) == "/dev/shm/vault-ticket-4711"


def test_the_state_folder_is_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.state_path({"XDG_STATE_HOME": "/s"}) == "/s/vault-ticket"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert environment.state_path({"HOME": "/root"}) == environment.ROOT_STATE
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert environment.state_path({"HOME": "/home/a"}) == "/home/a/.local/state/vault-ticket"
    assert environment.state_path({"STATE_DIRECTORY": "/s/ours:/s/more", "HOME": "/home/a"}) == "/s/ours"


class TestSignature:
    @pytest.mark.parametrize("name", environment.NAMES)
    def test_every_relevant_variable_changes_it_and_an_empty_one_is_not_an_unset_one(self, name: str) -> None:
        made = {environment_key(environ, None) for environ in ({}, {name: ""}, {name: "a"}, {name: "b"})}
        assert len(made) == 4

    def test_the_configurations_path_changes_it(self) -> None:
        assert environment_key({}, "/a") != environment_key({}, "/b") != environment_key({}, None)

    def test_other_variables_do_not_change_it(self) -> None:
        assert environment_key({"PATH": "/bin", "LANG": "C", "PWD": "/"}, None) == environment_key({}, None)

    @given(one=st.dictionaries(NAMES.map("VAULT_{}".format), st.text(st.characters(codec="utf-8")), max_size=3))
    def test_it_is_one_line_of_ascii_and_does_not_depend_on_the_order(self, one: dict[str, str]) -> None:
        turned = dict(reversed(one.items()))
        made = environment_key(one, "/etc/x")
        assert made == environment_key(turned, "/etc/x")
        assert made.isascii()
        assert made.isprintable()

    @pytest.mark.parametrize("name", sorted(environment.SECRET_NAMES))
    def test_it_does_not_tell_a_secret(self, name: str) -> None:
        assert {"BAO_TOKEN", "VAULT_TOKEN", "HTTPS_PROXY"} <= environment.SECRET_NAMES
        assert "hvs.CAES" not in environment_key({name: "hvs.CAES"}, None)

    def test_a_variable_with_bytes_that_are_no_text_is_told_too(self) -> None:
        """os.environ brings such bytes as lone surrogates."""
        assert environment_key({"HOME": "/h\udcff"}, None) != environment_key({"HOME": "/h"}, None)
