"""What `vault-ticket agent-config` prints. What agents make of it is for tests/e2e/test_agent.py."""

import re
from typing import Any

import pytest

from vault_ticket_plugin.agent.config import agent_config_text, heartbeat
from vault_ticket_plugin.agent.plan import MODES, Plan
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.daemon import Listener
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Auth, Tls, VaultSettings

SUPPORT = Profile.standard("support")
APPROLE = Auth("approle", mount="approle", role_id="r-1", secret_id_file="/etc/vault-ticket/secret_id")


WRAPPED = APPROLE._replace(wrapped=True)
SOCKET = Listener(path="/run/vault-ticket-proxy/proxy.sock")


def settings(auth: Auth = APPROLE, **vault: Any) -> Settings:
    return Settings(VaultSettings("https://vault.example:8200", auth, **vault), path="/etc/vault-ticket/config.toml")


def printed(profile: Profile = SUPPORT, given: Settings | None = None, **plan: Any) -> str:
    return agent_config_text(given or settings(), profile, Plan(**plan))


def active(text: str) -> list[str]:
    """The lines that are no comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("mode", MODES)
def test_blocks_are_closed_and_no_line_ends_in_a_space(mode: Any) -> None:
    text = printed(SUPPORT._replace(lease="field"), mode=mode, listen=SOCKET if mode == "proxy" else None)
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
            WRAPPED._replace(mount="apps"),
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
    """The proxy's, too. With a wrapped secret id it is the proxy alone that uses it."""
    ways: list[dict[str, Any]] = [{"mode": "proxy", "listen": SOCKET}, *([] if auth.wrapped else [{}])]
    for way in ways:
        found = active(printed(given=settings(auth), **way))
        assert [line for line in lines if line not in found] == []


@pytest.mark.parametrize("auth", [Auth("none"), Auth("token", token=Secret("s.123"))])
def test_a_login_that_no_agent_can_use_is_left_to_fill_in(auth: Auth) -> None:
    text = printed(given=settings(auth))
    assert "auto_auth {" not in active(text)
    assert "# auto_auth {" in text
    assert "fill this in" in text
    assert "s.123" not in text


def test_a_token_of_this_environment_is_not_the_helpers_either() -> None:
    text = printed(given=settings(Auth("token", token=Secret("s.123"))))
    assert "its configuration has no login yet" in text


def test_the_wrapped_id_is_not_told_to_stay() -> None:
    text = printed(given=settings(WRAPPED), mode="proxy", listen=SOCKET)
    assert "remove_secret_id_file_after_reading" not in text


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


@pytest.mark.parametrize("mode", ["plugin", "env", "exec"])
def test_the_helper_logs_in_by_itself_unless_it_is_told_of_a_listener(mode: Any) -> None:
    assert call(printed(mode=mode))[:5] == GET
    text = printed(mode=mode, listen=SOCKET)
    assert call(text)[:7] == ["env", "VAULT_TICKET_AGENT=unix:///run/vault-ticket-proxy/proxy.sock", *GET]


@pytest.mark.parametrize("mode", ["plugin", "env", "exec", "secret"])
def test_an_agent_is_no_proxy(mode: Any) -> None:
    """Its api_proxy will be removed by both, and so it would be refused."""
    for listen in (None, *([SOCKET] if mode != "secret" else [])):
        found = active(printed(SUPPORT._replace(lease="field"), mode=mode, listen=listen))
        assert not [line for line in found if line.startswith(("listener", "api_proxy", "cache"))]


def test_the_proxy_listens_where_the_helper_knocks() -> None:
    found = active(printed(mode="proxy", listen=SOCKET))
    assert found[found.index('listener "unix" {') + 1] == 'address = "/run/vault-ticket-proxy/proxy.sock"'
    assert found[found.index("api_proxy {") + 1] == "use_auto_auth_token = true"
    assert "require_request_header = true" in found
    assert not [line for line in found if line.startswith(("cache", "template", "sink"))]


@pytest.mark.parametrize(
    ("listen", "address"),
    [(Listener(host="127.0.0.1", port=8100), "127.0.0.1:8100"), (Listener(host="::1", port=8100), "[::1]:8100")],
)
def test_a_tcp_listener(listen: Listener, address: str) -> None:
    found = active(printed(mode="proxy", listen=listen))
    assert found[found.index('listener "tcp" {') + 1] == f'address = "{address}"'
    assert call(printed(listen=listen))[1] == f"VAULT_TICKET_AGENT=http://{address}"


def test_a_wrapped_secret_id_is_the_proxys_and_its_token_the_agents() -> None:
    proxy = active(printed(given=settings(WRAPPED), mode="proxy", listen=SOCKET))
    assert proxy[proxy.index('sink "file" {') + 2 :][:2] == ['path = "/run/vault-ticket-proxy/token"', "mode = 0600"]
    agent = active(printed(given=settings(WRAPPED), listen=SOCKET))
    assert 'method "token_file" {' in agent
    assert 'token_file_path = "/run/vault-ticket-proxy/token"' in agent
    assert not [line for line in agent if "secret_id" in line or line.startswith("mount_path")]


def test_each_of_the_two_says_how_the_other_is_printed() -> None:
    agent, proxy = (
        printed(mode="env", listen=SOCKET, program="vault"),
        printed(mode="proxy", listen=SOCKET, program="vault"),
    )
    common = "--for vault --listen unix:///run/vault-ticket-proxy/proxy.sock"
    assert f"`vault-ticket agent-config support --mode proxy {common}`" in agent
    assert f"`vault-ticket agent-config support --mode plugin {common}`" in proxy
    assert "# Run: vault agent -config=" in agent
    assert "# Run: vault proxy -config=" in proxy


def test_a_configuration_in_another_place_is_named() -> None:
    """The agent's user and environment are not those of whoever printed this."""
    elsewhere = settings()._replace(path="/home/ops/config.toml")
    assert call(printed(given=elsewhere))[1] == "VAULT_TICKET_CONFIG=/home/ops/config.toml"
    assert call(printed(given=elsewhere, mode="exec"))[:2] == ["env", "VAULT_TICKET_CONFIG=/home/ops/config.toml"]


def test_a_timeout_beyond_what_agents_bear_is_cut() -> None:
    assert call(printed(given=settings()._replace(timeout=60.0)))[-2:] == ["--timeout", "20s"]


def test_exec_mode_waits() -> None:
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
    assert "access_token" in printed(mode="secret", program="vault")


@pytest.mark.parametrize(
    ("auth", "plan", "hint"),
    [
        (WRAPPED, {"mode": "plugin"}, "--mode proxy --listen unix:///run/vault-ticket-proxy/proxy.sock"),
        (WRAPPED, {"mode": "env"}, "--mode proxy --listen"),
        (WRAPPED, {"mode": "exec"}, "--mode proxy --listen"),
        (APPROLE, {"mode": "proxy"}, "--listen unix:///run/vault-ticket-proxy/proxy.sock"),
        (APPROLE, {"mode": "secret", "listen": SOCKET}, "Leave out --listen"),
        (APPROLE, {"mode": "proxy", "listen": SOCKET, "command": ("true",)}, "Leave out --destination and --command"),
        (APPROLE, {"mode": "proxy", "listen": SOCKET, "destination": "/x"}, "Leave out --destination and --command"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(auth: Auth, plan: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        printed(SUPPORT._replace(lease="field"), settings(auth), **plan)
    assert hint in refused.value.hint


def test_a_wrapped_secret_id_is_the_agents_if_no_helper_is_called() -> None:
    found = active(printed(SUPPORT._replace(lease="field"), settings(WRAPPED), mode="secret"))
    assert 'secret_id_response_wrapping_path = "auth/approle/role/ROLE/secret-id"' in found


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
