"""What `vault-ticket agent-config` prints. What agents make of it is for tests/e2e/test_agent.py."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import SimClock, Time
from vault_ticket_plugin import environment
from vault_ticket_plugin.agent.config import MODES, Plan, agent_config_text, heartbeat
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import Settings, load_settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Auth, Tls, VaultSettings

SUPPORT = Profile.standard("support")
APPROLE = Auth("approle", mount="approle", role_id="r-1", secret_id_file="/etc/vault-ticket/secret_id")


def settings(auth: Auth = APPROLE, **vault: Any) -> Settings:
    return Settings(VaultSettings("https://vault.example:8200", auth, **vault), path="/etc/vault-ticket/config.toml")


def printed(profile: Profile = SUPPORT, given: Settings | None = None, **plan: Any) -> str:
    return agent_config_text(given or settings(), profile, Plan(**plan))


def active(text: str) -> list[str]:
    """The lines that are no comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("mode", MODES)
def test_blocks_are_closed_and_no_line_ends_in_a_space(mode: Any) -> None:
    text = printed(SUPPORT._replace(lease="field"), mode=mode)
    blocks = re.sub(r"<<EOT\n.*?\nEOT\n", "", text, flags=re.DOTALL)
    assert blocks.count("{") == blocks.count("}")
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("auth", "lines"),
    [
        (
            APPROLE,
            [
                'method "approle" {',
                'mount_path = "auth/approle"',
                'role_id_file_path = "/etc/vault-ticket/role_id"',
                'secret_id_file_path = "/etc/vault-ticket/secret_id"',
                "remove_secret_id_file_after_reading = false",
            ],
        ),
        (
            APPROLE._replace(wrapped=True, mount="apps"),
            ['mount_path = "auth/apps"', 'secret_id_response_wrapping_path = "auth/apps/role/ROLE/secret-id"'],
        ),
        (
            Auth("kubernetes", mount="k8s", role="app", jwt_file="/var/run/token"),
            ['method "kubernetes" {', 'mount_path = "auth/k8s"', 'role = "app"', 'token_path = "/var/run/token"'],
        ),
        (
            Auth("jwt", mount="jwt", role="app", jwt_file="/run/jwt"),
            ['method "jwt" {', 'path = "/run/jwt"', 'role = "app"', "remove_jwt_after_reading = false"],
        ),
        (Auth("cert", mount="cert", role="app"), ['method "cert" {', 'name = "app"']),
        (Auth("token", token_file="/run/token"), ['method "token_file" {', 'token_file_path = "/run/token"']),
    ],
)
def test_a_configured_login_becomes_the_agents(auth: Auth, lines: list[str]) -> None:
    found = active(printed(given=settings(auth)))
    assert [line for line in lines if line not in found] == []


@pytest.mark.parametrize("auth", [Auth("none"), Auth("token", token=Secret("s.123"))])
def test_a_login_that_no_agent_can_use_is_left_to_fill_in(auth: Auth) -> None:
    text = printed(given=settings(auth))
    assert "auto_auth {" not in active(text)
    assert "# auto_auth {" in text
    assert "fill this in" in text
    assert "s.123" not in text


def test_the_wrapped_id_is_not_told_to_stay() -> None:
    assert "remove_secret_id_file_after_reading" not in printed(given=settings(APPROLE._replace(wrapped=True)))


def test_where_vault_is_and_how_to_trust_it() -> None:
    tls = Tls("/ca.pem", "/ca", "/crt.pem", "/key.pem", "vault.internal", verify=False)
    found = active(printed(given=settings(tls=tls, namespace="ops")))
    for line in (
        'address = "https://vault.example:8200"',
        'ca_cert = "/ca.pem"',
        'ca_path = "/ca"',
        'client_cert = "/crt.pem"',
        'client_key = "/key.pem"',
        'tls_server_name = "vault.internal"',
        "tls_skip_verify = true",
        'namespace = "ops"',
    ):
        assert line in found


def test_a_configuration_that_names_the_listener_already_leaves_vault_open() -> None:
    own = VaultSettings("http://localhost", Auth("none"), unix_socket="/run/agent.sock")
    text = printed(given=Settings(own, path="/etc/vault-ticket/config.toml"))
    assert "vault {" not in active(text)
    assert 'plugin "vault-ticket" "get" "support" "--format" "token"' in text


# -- the helper's call


def call(text: str) -> list[str]:
    found = re.search(r"\{\{ plugin (.*) \}\}", text)
    assert found
    return re.findall(r'"([^"]*)"', found[1])


GET = ["vault-ticket", "get", "support", "--format", "token"]


@pytest.mark.parametrize("mode", ["plugin", "env"])
def test_the_helper_goes_through_the_agents_listener(mode: Any) -> None:
    text = printed(mode=mode)
    assert call(text) == ["env", "VAULT_TICKET_AGENT=unix:///run/vault-ticket-agent/agent.sock", *GET]
    assert active(text)[active(text).index('listener "unix" {') + 1] == 'address = "/run/vault-ticket-agent/agent.sock"'


def test_a_tcp_listener() -> None:
    text = printed(listen="127.0.0.1:8100")
    assert call(text)[1] == "VAULT_TICKET_AGENT=http://127.0.0.1:8100"
    assert active(text)[active(text).index('listener "tcp" {') + 1] == 'address = "127.0.0.1:8100"'


@pytest.mark.parametrize("mode", ["secret", "exec"])
def test_no_listener_where_nothing_would_use_it(mode: Any) -> None:
    """Agents refuse an api_proxy beside env_template."""
    text = printed(SUPPORT._replace(lease="field"), mode=mode)
    assert not [line for line in active(text) if line.startswith(("listener", "api_proxy"))]


def test_a_configuration_in_another_place_is_named() -> None:
    """The agent's user and environment are not those of whoever printed this."""
    elsewhere = settings()._replace(path="/home/ops/config.toml")
    assert call(printed(given=elsewhere))[1] == "VAULT_TICKET_CONFIG=/home/ops/config.toml"
    assert call(printed(given=elsewhere, mode="exec"))[:2] == ["env", "VAULT_TICKET_CONFIG=/home/ops/config.toml"]


def test_a_timeout_beyond_what_agents_bear_is_cut() -> None:
    assert call(printed(given=settings()._replace(timeout=60.0)))[-2:] == ["--timeout", "20s"]


def test_exec_mode_waits_and_needs_no_listener() -> None:
    assert call(printed(mode="exec")) == [*GET, "--wait"]


def test_exec_mode_asks_for_what_the_restart_takes_where_the_soft_window_is_shorter() -> None:
    short = SUPPORT._replace(default_lifetime=10.0)
    assert call(printed(short, mode="exec"))[-2:] == ["--min-ttl", "6s"]


# -- the pace


@pytest.mark.parametrize(
    ("windows", "lifetime", "seconds"),
    [
        (Windows(), 3600.0, 60),
        (Windows(), 600.0, 50),
        (Windows(), 10.0, 1),  # an agent cuts to whole seconds, and 0 would be a busy loop
        (Windows(soft=20.0), 3600.0, 5),
        (Windows(soft=2.0), 3600.0, 1),
    ],
)
def test_several_passes_within_the_soft_window(windows: Windows, lifetime: float, seconds: int) -> None:
    profile = SUPPORT._replace(windows=windows, default_lifetime=lifetime)
    assert heartbeat(profile) == seconds
    assert re.search(rf'static_secret_render_interval = "({seconds}s|1m)"', printed(profile))


# -- what is rendered, and where


def test_secret_mode_reads_the_leased_path_of_either_engine() -> None:
    v2 = printed(SUPPORT._replace(lease="field"), mode="secret")
    assert '{{ with secret "secret/data/ticket/support/token" -}}' in v2
    assert "{{ .Data.data.access_token }}" in v2
    v1 = printed(SUPPORT._replace(ticket=Location("kv1", "t/support", 1)), mode="secret")
    assert '{{ with secret "kv1/t/support" -}}' in v1
    assert "{{ .Data.access_token }}" in v1


def test_secret_mode_says_who_must_refresh() -> None:
    assert "Nothing here refreshes the ticket" in printed(SUPPORT._replace(lease="field"), mode="secret")


def test_openbaos_agent_gets_no_secret_mode_for_versions_that_end() -> None:
    with pytest.raises(ConfigError) as refused:
        printed(mode="secret")
    assert 'lease = "field"' in refused.value.hint
    assert "access_token" in printed(mode="secret", server="vault")


def test_exec_mode_and_a_wrapped_secret_id_exclude_each_other() -> None:
    with pytest.raises(ConfigError):
        printed(given=settings(APPROLE._replace(wrapped=True)), mode="exec")


@pytest.mark.parametrize("mode", ["plugin", "secret", "env"])
def test_a_file_for_its_owner_alone_and_a_failing_pass_that_ends_nothing(mode: Any) -> None:
    found = active(printed(SUPPORT._replace(lease="field"), mode=mode))
    assert 'perms = "0600"' in found
    assert "error_fatal = false" in found
    assert "error_on_missing_key = true" in found


def test_exec_mode_has_no_error_fatal() -> None:
    """With it set to false the child is started with an empty value when the helper fails."""
    assert "error_fatal = false" not in active(printed(mode="exec"))


def test_a_command_is_given_word_by_word() -> None:
    words = ("sh", "-c", 'echo "done" >>/tmp/x')
    assert 'command = ["sh", "-c", "echo \\"done\\" >>/tmp/x"]' in active(printed(command=words))
    assert 'command = ["sh", "-c", "echo \\"done\\" >>/tmp/x"]' in active(printed(command=words, mode="exec"))
    assert not [line for line in active(printed()) if line.startswith("command")]


def test_the_environment_file_is_one_line_that_ends() -> None:
    text = printed(mode="env", destination="/run/app/token.env")
    assert 'destination = "/run/app/token.env"' in active(text)
    assert re.search(r"^TICKET_ACCESS_TOKEN=\{\{ plugin .* \}\}\n\{\{ end -\}\}$", text, re.MULTILINE)


# -- the other side: the helper in the agent's hands


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


def test_the_last_moment_of_a_deadline() -> None:
    """A caller's patience may be outstayed to save what came, but not beyond the last moment."""
    clock = SimClock(Time())
    deadline = Deadline.after(20, clock, last=27)
    clock.sleep(19)
    assert deadline.at_least(3).left() == 3
    clock.sleep(6)
    assert deadline.at_least(3).left() == deadline.within(60).at_least(3).left() == 2
    assert Deadline.after(1, clock).at_least(500).left() == 500
