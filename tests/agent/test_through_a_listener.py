"""The other side: the helper that an agent calls, told of a listener by VAULT_TICKET_AGENT."""

from pathlib import Path

import pytest

from vault_ticket_plugin import environment
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.settings.vault import Auth


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "config.toml"
    file.write_text(
        '[vault]\naddress = "https://vault.example:8200"\nnamespace = "ops"\n'
        'auth = { method = "approle", role_id = "r-1" }\n[profiles.support]\n'
    )
    return {"VAULT_TICKET_CONFIG": str(file), "VAULT_TOKEN": "s.123", "HOME": str(tmp_path)}


def test_through_an_agent_there_is_no_login_and_no_token_of_ours(environ: dict[str, str]) -> None:
    direct = load_settings(environ)
    through = load_settings(environ | {"VAULT_TICKET_AGENT": "unix:///run/agent.sock"})
    assert (through.vault.unix_socket, through.vault.auth) == ("/run/agent.sock", Auth("none"))
    assert through.vault.namespace == "ops"
    assert through.profiles == direct.profiles
    profile = through.profile("support")
    assert through.ticket_key(profile) != direct.ticket_key(profile)


def test_through_an_agent_without_any_other_address(tmp_path: Path) -> None:
    found = load_settings({"VAULT_TICKET_AGENT": "http://127.0.0.1:8100", "HOME": str(tmp_path)})
    assert (found.vault.address, found.vault.auth) == ("http://127.0.0.1:8100", Auth("none"))


@pytest.mark.parametrize("wrong", ["agent.sock", "unix://agent.sock", "127.0.0.1:8100"])
def test_an_agents_address_that_is_none_names_the_variable(environ: dict[str, str], wrong: str) -> None:
    with pytest.raises(ConfigError, match="VAULT_TICKET_AGENT"):
        load_settings(environ | {"VAULT_TICKET_AGENT": wrong})


def test_a_mistake_in_the_file_is_told_all_the_same(environ: dict[str, str]) -> None:
    file = Path(environ["VAULT_TICKET_CONFIG"])
    file.write_text(file.read_text().replace("role_id", "roleid"))
    with pytest.raises(ConfigError, match="roleid"):
        load_settings(environ | {"VAULT_TICKET_AGENT": "unix:///run/agent.sock"})


def test_the_environment_tells_one_way_from_the_other() -> None:
    """So that the cache keeps them apart."""
    assert environment.environment_key({}, None) != environment.environment_key(
        {"VAULT_TICKET_AGENT": "unix:///a"}, None
    )
