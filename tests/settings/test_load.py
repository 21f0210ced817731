"""The configuration: every rule, and that nothing but a ConfigError which says what to do comes out of a bad one."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_ticket_plugin import environment
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location, Windows
from vault_ticket_plugin.refresh.watch import MAX_SECONDS
from vault_ticket_plugin.settings.load import Settings, load_settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Auth

MARK = "m4rk3d-vault-token"
ADDRESS = "https://vault.example:8200"
Load = Callable[..., Settings]

EXAMPLE = """
[vault]
address = "https://vault.example:8200"          # or unix:///run/agent.sock for an agent's or proxy's listener
namespace = "ops"
auth = { method = "approle", role_id = "…", secret_id_file = "/run/secrets/secret_id" }

[profiles.support]
client_id = "…"                                  # or in the grant document
token_url = "https://api.socialboards.com/token" # the default
grant  = { mount = "secret", path = "ticket/support/grant", kv_version = 2 }   # these are the defaults
ticket = { mount = "secret", path = "ticket/support/token", kv_version = 2 }
soft_window = "20m"     # default: the smaller of 20 min and a third of the ticket's lifetime
hard_window = "2m"
"""


def inline(value: object) -> str:
    """TOML of a value that tomllib could have read."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {inline(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def written(document: Mapping[str, object]) -> str:
    return "".join(f"{json.dumps(key, ensure_ascii=False)} = {inline(value)}\n" for key, value in document.items())


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a text or a document, under an environment of its own with a marked token in it."""

    def load_it(content: str | Mapping[str, object] | None = None, **environ: str) -> Settings:
        found = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")} | environ
        if content is not None:
            path = tmp_path / "config.toml"
            path.write_text(content if isinstance(content, str) else written(content), encoding="utf-8")
            found["VAULT_TICKET_CONFIG"] = str(path)
        return load_settings(found)

    return load_it


def vault(**keys: object) -> dict[str, object]:
    return {"vault": {"address": ADDRESS, **keys}}


def support(**keys: object) -> dict[str, object]:
    return vault() | {"profiles": {"support": keys}}


def test_the_documented_example_is_read_exactly(load: Load) -> None:
    found = load(EXAMPLE)
    assert found.vault.address == ADDRESS
    assert found.vault.namespace == "ops"
    assert found.vault.auth == Auth("approle", mount="approle", role_id="…", secret_id_file="/run/secrets/secret_id")
    assert found.profiles == {
        "support": Profile(
            name="support",
            grant=Location("secret", "ticket/support/grant", 2),
            ticket=Location("secret", "ticket/support/token", 2),
            client_id="…",
            token_url="https://api.socialboards.com/token",
            windows=Windows(1200.0, 120.0),
        )
    }
    assert (found.path or "").endswith("config.toml")


def test_an_empty_profile_has_the_documented_defaults(load: Load) -> None:
    assert load(support()).profile("support") == Profile.standard("support")


def test_what_is_not_about_vault_or_a_profile(load: Load) -> None:
    assert (load(vault()).timeout, load(vault()).cache) == (20.0, True)
    found = load({"timeout": 1, "cache": False} | vault())
    assert (found.timeout, found.cache) == (1.0, False)


class TestWhichFile:
    @pytest.fixture
    def environ(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """A file in each place, each with an address that says where it is. /etc is moved to a place of the test."""
        join, etc = os.path.join, str(tmp_path / "etc")
        monkeypatch.setattr(os.path, "join", lambda *parts: join(*(etc if one == "/etc" else one for one in parts)))
        for name, folder in {"xdg": "xdg", "home": "home/.config", "etc": "etc"}.items():
            path = tmp_path / folder / "vault-ticket" / "config.toml"
            path.parent.mkdir(parents=True)
            path.write_text(f'vault.address = "https://{name}:1"')
        (tmp_path / "named.toml").write_text('vault.address = "https://named:1"')
        return {
            "VAULT_TICKET_CONFIG": str(tmp_path / "named.toml"),
            "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
            "HOME": str(tmp_path / "home"),
        }

    def test_the_first_place_with_a_file_wins(self, environ: dict[str, str], tmp_path: Path) -> None:
        assert load_settings(environ).vault.address == "https://named:1"
        environ["VAULT_TICKET_CONFIG"] = ""
        assert load_settings(environ).vault.address == "https://xdg:1"
        del environ["XDG_CONFIG_HOME"]
        assert load_settings(environ).vault.address == "https://home:1"
        environ["HOME"] = str(tmp_path)
        assert load_settings(environ).vault.address == "https://etc:1"

    def test_a_named_file_that_is_missing_is_an_error_and_no_other_is_used(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        environ["VAULT_TICKET_CONFIG"] = str(tmp_path / "typo.toml")
        with pytest.raises(ConfigError, match=r"typo\.toml: can't be read \(no such file or directory\)"):
            load_settings(environ)


class TestEnvironment:
    def test_an_address_and_a_token_are_enough(self, load: Load) -> None:
        found = load(VAULT_ADDR=ADDRESS, VAULT_TOKEN=f"{MARK}\n")
        assert found.vault.address == ADDRESS
        assert found.vault.auth.method == "token"
        assert found.vault.auth.token is not None
        assert found.vault.auth.token.reveal() == MARK
        assert found.path is None
        assert found.profile("default").name == "default"

    def test_without_a_token_the_commands_token_file_is_used(self, load: Load, tmp_path: Path) -> None:
        expected = Auth("token", token_file=str(tmp_path / "home" / ".vault-token"), by_default=True)
        assert load(VAULT_ADDR=ADDRESS).vault.auth == expected
        assert load(vault(auth={"method": "token"})).vault.auth == expected

    def test_openbaos_own_variable_names_another_token_file(self, load: Load) -> None:
        found = load(vault(), BAO_TOKEN_PATH="/run/user/7/token")
        assert found.vault.auth == Auth("token", token_file="/run/user/7/token", by_default=True)

    def test_without_an_address_the_error_says_how_to_give_one(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="no Vault address") as refused:
            load()
        assert "VAULT_ADDR" in refused.value.hint

    SEEN: Mapping[str, tuple[str, str, str]] = {
        # variable: a value, another one, what becomes of it
        "ADDR": ("https://one:1", "https://two:2", "address"),
        "AGENT_ADDR": ("http://127.0.0.1:1", "http://127.0.0.1:2", "address"),
        "NAMESPACE": ("one", "two", "namespace"),
        "CACERT": ("/one", "/two", "tls.ca_file"),
        "CAPATH": ("/one", "/two", "tls.ca_path"),
        "CLIENT_CERT": ("/one", "/two", "tls.client_cert"),
        "CLIENT_KEY": ("/one", "/two", "tls.client_key"),
        "TLS_SERVER_NAME": ("one", "two", "tls.server_name"),
        "SKIP_VERIFY": ("true", "false", "tls.verify"),
        "CLIENT_TIMEOUT": ("11s", "22s", "client_timeout"),
        "TOKEN": ("one", "two", "auth.token"),
    }

    @staticmethod
    def at(found: object, name: str) -> object:
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def test_every_conventional_variable_is_tried_below(self) -> None:
        assert set(self.SEEN) == set(environment.SERVER_NAMES)

    @pytest.mark.parametrize("name", SEEN)
    def test_baos_variable_comes_before_vaults_and_an_empty_one_counts_as_unset(self, load: Load, name: str) -> None:
        one, two, where = self.SEEN[name]
        base = {} if name == "ADDR" else {"VAULT_ADDR": ADDRESS}

        def seen(**environ: str) -> object:
            return self.at(load(**base, **environ).vault, where)

        by_one, by_two = seen(**{f"BAO_{name}": one}), seen(**{f"BAO_{name}": two})
        assert by_one != by_two
        assert seen(**{f"BAO_{name}": one, f"VAULT_{name}": two}) == by_one
        assert seen(**{f"BAO_{name}": "", f"VAULT_{name}": two}) == by_two
        assert seen(**{f"VAULT_{name}": two}) == by_two
        if base:
            assert seen(**{f"BAO_{name}": "", f"VAULT_{name}": ""}) == self.at(load(**base).vault, where)

    FROM_FILE: Mapping[str, tuple[str, object]] = {
        "ADDR": ("address", "https://file:1"),
        "AGENT_ADDR": ("address", "https://file:1"),
        "NAMESPACE": ("namespace", "file"),
        "CACERT": ("ca_cert", "/file"),
        "CAPATH": ("ca_path", "/file"),
        "CLIENT_CERT": ("client_cert", "/file"),
        "CLIENT_KEY": ("client_key", "/file"),
        "TLS_SERVER_NAME": ("tls_server_name", "file"),
        "SKIP_VERIFY": ("skip_verify", False),
        "CLIENT_TIMEOUT": ("client_timeout", "33s"),
    }

    @pytest.mark.parametrize("name", FROM_FILE)
    def test_what_the_file_says_wins(self, load: Load, name: str) -> None:
        key, value = self.FROM_FILE[name]
        where = self.SEEN[name][2]
        with_both = load(vault(**{key: value}), **{f"BAO_{name}": self.SEEN[name][0]})
        assert self.at(with_both.vault, where) == self.at(load(vault(**{key: value})).vault, where)

    def test_an_agents_address_comes_before_the_servers_and_needs_no_token(self, load: Load) -> None:
        found = load(VAULT_ADDR=ADDRESS, BAO_AGENT_ADDR="http://127.0.0.1:8100").vault
        assert (found.address, found.auth.method) == ("http://127.0.0.1:8100", "none")
        assert load(VAULT_AGENT_ADDR="http://127.0.0.1:8100", VAULT_TOKEN=MARK).vault.auth.method == "token"

    @pytest.mark.parametrize("given", ["unix:///run/agent.sock", "unix:///run/a b.sock"])
    def test_a_unix_socket_is_an_agents_listener(self, load: Load, given: str) -> None:
        path = given.removeprefix("unix://")
        for found in (load(BAO_AGENT_ADDR=given).vault, load(vault(address=given)).vault):
            assert (found.address, found.unix_socket, found.auth.method) == ("http://localhost", path, "none")
            assert found.shown == given

    @pytest.mark.parametrize(
        "wrong",
        [
            *("vault:8200", "vault", "ftp://vault", "//vault", "https://", "https://:8200", "https://vault:port"),
            *("https://vault:99999", "https://vault:0", "https://[::1", "https://[zz]:1", "https://va ult:1"),
            *("https://me:hunter2@vault:8200", "https://me@vault:8200", "https://@vault", "https://vault/?a=b"),
            *("https://vault/#x", "unix://run/agent.sock", "unix:run", "unix:", "https://vault\n.example"),
        ],
    )
    @pytest.mark.parametrize("name", ["BAO_ADDR", "VAULT_AGENT_ADDR", "address"])
    def test_an_address_that_is_none_is_refused_by_its_name_and_unquoted(
        self, load: Load, wrong: str, name: str
    ) -> None:
        """It may have a password in it."""
        with pytest.raises(ConfigError, match=r"wanted .*https://HOST:PORT|control characters") as refused:
            load(vault(address=wrong)) if name == "address" else load(**{name: wrong})
        assert ("vault.address" if name == "address" else name) in refused.value.message
        assert "hunter2" not in refused.value.message + refused.value.hint

    @pytest.mark.parametrize(("text", "verify"), [("1", False), ("True", False), ("0", True), ("F", True)])
    def test_skip_verify_is_read_as_the_servers_own_clients_do(self, load: Load, text: str, verify: bool) -> None:
        assert load(VAULT_ADDR=ADDRESS, VAULT_SKIP_VERIFY=text).vault.tls.verify is verify

    @pytest.mark.parametrize(("name", "value"), [("SKIP_VERIFY", "maybe"), ("CLIENT_TIMEOUT", "soon")])
    def test_a_variable_that_cant_be_read_is_named(self, load: Load, name: str, value: str) -> None:
        with pytest.raises(ConfigError, match=f"^VAULT_{name}: wanted "):
            load(VAULT_ADDR=ADDRESS, **{f"VAULT_{name}": value})

    def test_a_client_timeout_of_zero_is_the_default(self, load: Load) -> None:
        """As the servers' own clients have it."""
        assert load(VAULT_ADDR=ADDRESS, VAULT_CLIENT_TIMEOUT="0").vault.client_timeout == 30.0

    def test_tls_is_verified_unless_somebody_says_otherwise(self, load: Load) -> None:
        assert load(vault()).vault.tls.verify is True
        assert load(vault(skip_verify=True)).vault.tls.verify is False


class TestPathsInVault:
    """Mounts, paths, namespaces and a login's mount have one spelling, whoever wrote them and wherever."""

    PLACES: Mapping[str, Callable[[object], dict[str, object]]] = {
        "profiles.support.grant.mount": lambda value: support(grant={"mount": value}),
        "profiles.support.grant.path": lambda value: support(grant={"path": value}),
        "profiles.support.ticket.mount": lambda value: support(ticket={"mount": value}),
        "profiles.support.ticket.path": lambda value: support(ticket={"path": value}),
        "vault.namespace": lambda value: vault(namespace=value),
        "vault.auth.mount": lambda value: vault(auth={"method": "approle", "role_id": "r", "mount": value}),
    }

    @staticmethod
    def at(settings: Settings, place: str) -> str | None:
        found: Any = settings
        for name in place.split("."):
            found = found["support"] if name == "support" else getattr(found, name)
        return str(found) if found is not None else None

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("text", ["ops/eu", "/ops/eu", "ops/eu/", "/ops/eu/"])
    def test_one_slash_at_either_end_is_dropped(self, load: Load, place: str, text: str) -> None:
        assert self.at(load(self.PLACES[place](text)), place) == "ops/eu"

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("text", ["ops//eu", "//ops", "ops//", "/", "./ops", "ops/..", "ops/../eu", "a\nb", "a\tb"])
    def test_anything_that_a_server_would_clean_up_is_refused_by_its_key(
        self, load: Load, place: str, text: str
    ) -> None:
        with pytest.raises(ConfigError) as refused:
            load(self.PLACES[place](text))
        assert f": {place}: " in refused.value.message

    @pytest.mark.parametrize("text", ["ops//eu", "..", "ops/./eu"])
    def test_the_variable_is_named_too(self, load: Load, text: str) -> None:
        with pytest.raises(ConfigError, match="VAULT_NAMESPACE: wanted"):
            load(vault(), VAULT_NAMESPACE=text)
        assert load(vault(), BAO_NAMESPACE="/ops/").vault.namespace == "ops"


class TestAuth:
    SOUND: Mapping[str, dict[str, object]] = {
        "token": {"token_file": "/t"},
        "approle": {"role_id": "r", "secret_id_file": "/s", "wrapped": True, "mount": "m"},
        "kubernetes": {"role": "r", "jwt_file": "/j", "mount": "m"},
        "jwt": {"jwt_file": "/j", "role": "r", "mount": "m"},
        "cert": {"role": "r", "mount": "m"},
        "none": {},
    }

    def auth(self, load: Load, **keys: object) -> Auth:
        return load(vault(client_cert="/c", auth=keys)).vault.auth

    @pytest.mark.parametrize("method", SOUND)
    def test_every_key_of_every_method_is_read(self, load: Load, method: str) -> None:
        found = self.auth(load, method=method, **self.SOUND[method])
        assert found == Auth(method, **self.SOUND[method])  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", SOUND)
    def test_keys_of_another_method_are_refused(self, load: Load, method: str) -> None:
        every = {key: value for keys in self.SOUND.values() for key, value in keys.items()}
        for key, value in every.items():
            if key not in self.SOUND[method]:
                with pytest.raises(ConfigError, match=f"vault.auth.{key}: there is no such key"):
                    self.auth(load, method=method, **self.SOUND[method], **{key: value})

    @pytest.mark.parametrize(("method", "key"), [("approle", "role_id"), ("kubernetes", "role"), ("jwt", "jwt_file")])
    def test_a_key_that_the_method_needs_is_asked_for(self, load: Load, method: str, key: str) -> None:
        keys = {name: value for name, value in self.SOUND[method].items() if name != key}
        with pytest.raises(ConfigError, match=f"vault.auth.{key}: wanted a text, since auth.method is {method}"):
            self.auth(load, method=method, **keys)

    def test_the_defaults_of_each_method(self, load: Load) -> None:
        assert self.auth(load, method="approle", role_id="r") == Auth("approle", "approle", role_id="r")
        account = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        assert self.auth(load, method="kubernetes", role="r") == Auth("kubernetes", "kubernetes", "r", jwt_file=account)
        assert self.auth(load, method="jwt", jwt_file="/j") == Auth("jwt", "jwt", jwt_file="/j")
        assert self.auth(load, method="cert") == Auth("cert", "cert")

    def test_an_unknown_method_is_refused_with_those_there_are(self, load: Load) -> None:
        with pytest.raises(ConfigError, match=r"vault\.auth\.method: wanted one of token, approle, .*none"):
            self.auth(load, method="ldap")

    def test_keys_without_a_method_are_refused(self, load: Load) -> None:
        with pytest.raises(ConfigError, match=r"vault\.auth\.role_id: there is no such key") as refused:
            self.auth(load, role_id="r")
        assert "method" in refused.value.hint

    def test_a_certificates_login_needs_a_certificate(self, load: Load) -> None:
        with pytest.raises(ConfigError, match=r"vault\.client_cert: wanted a certificate"):
            load(vault(auth={"method": "cert"}))
        assert load(vault(auth={"method": "cert"}), BAO_CLIENT_CERT="/c").vault.tls.client_cert == "/c"

    def test_a_configured_token_file_comes_before_the_variable(self, load: Load) -> None:
        found = load(vault(auth={"method": "token", "token_file": "~/t"}), VAULT_TOKEN=MARK).vault.auth
        assert found.token is None
        assert (found.token_file or "").endswith("/t")
        assert "~" not in (found.token_file or "")
        assert load(vault(auth={"method": "token"}), VAULT_TOKEN=MARK).vault.auth.token is not None

    def test_a_token_in_the_environment_is_not_used_by_another_method(self, load: Load) -> None:
        assert load(vault(auth={"method": "none"}), VAULT_TOKEN=MARK).vault.auth == Auth("none")


class TestProfile:
    def refused(self, load: Load, **keys: object) -> ConfigError:
        with pytest.raises(ConfigError) as refused:
            load(support(**keys))
        return refused.value

    def test_a_grant_on_kv_version_1_is_refused_and_says_why(self, load: Load) -> None:
        message = self.refused(load, grant={"kv_version": 1}).message
        assert "profiles.support.grant.kv_version: wanted 2" in message
        assert "check-and-set" in message
        assert load(support(ticket={"kv_version": 1})).profile("support").ticket.kv_version == 1

    @pytest.mark.parametrize(
        "ticket",
        [
            {"path": "ticket/support/grant"},
            {"path": "/ticket/support/grant/"},
            {"path": "ticket/support/grant", "kv_version": 1},
            {"mount": "/secret/", "path": "ticket/support/grant"},
        ],
    )
    def test_grant_and_ticket_in_one_place_are_refused(self, load: Load, ticket: object) -> None:
        """Whoever may read the ticket could read the refresh token."""
        assert "profiles.support.ticket: wanted another location" in self.refused(load, ticket=ticket).message

    @pytest.mark.parametrize("path", ["", "/", "a//b", "../a", "a/./b", "a/..", "a\tb", 5, ["a"]])
    @pytest.mark.parametrize("key", ["mount", "path"])
    def test_a_path_that_is_none_is_refused(self, load: Load, path: object, key: str) -> None:
        assert f"profiles.support.grant.{key}: wanted " in self.refused(load, grant={key: path}).message

    def test_slashes_at_the_ends_of_a_path_do_not_count(self, load: Load) -> None:
        found = load(support(grant={"mount": "/kv/", "path": "/a/b/"})).profile("support").grant
        assert found == Location("kv", "a/b")

    @pytest.mark.parametrize("key", ["token_url", "revocation_url"])
    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:9/t", "http://localhost/t", "http://[::1]:9/t", "https://a/t?b=c"]
    )
    def test_https_anywhere_and_http_on_this_host_are_allowed(self, load: Load, key: str, url: str) -> None:
        assert getattr(load(support(**{key: url})).profile("support"), key) == url

    @pytest.mark.parametrize("key", ["token_url", "revocation_url"])
    @pytest.mark.parametrize(
        "url",
        [
            *("http://api.example/token", "http://10.0.0.1/t", "http://localhost.example/t", "ftp://127.0.0.1/t"),
            *("https://me:hunter2@api.example/t", "https://me@api.example/t", "http://127.0.0.1@api.example/t"),
            *("https://", "/token", "api.example", "", "https://api.example/t#f", "https://api.example:99999/t"),
            *("https://[::1/t", "https://api example/t", "unix:///t", 5),
        ],
    )
    def test_any_other_url_is_refused_and_not_quoted(self, load: Load, key: str, url: object) -> None:
        error = self.refused(load, **{key: url})
        assert f"profiles.support.{key}: wanted a" in error.message
        assert "hunter2" not in error.message + error.hint

    @pytest.mark.parametrize(
        ("keys", "limit"),
        [
            ({"soft_window": "2m", "hard_window": "2m"}, "2m"),
            ({"soft_window": "2m", "hard_window": "3m"}, "2m"),
            ({"hard_window": "20m"}, "20m"),
            ({"hard_window": "1h"}, "20m"),
        ],
    )
    def test_a_hard_window_that_is_not_inside_the_soft_one_is_refused(
        self, load: Load, keys: dict[str, object], limit: str
    ) -> None:
        message = self.refused(load, **keys).message
        assert f"profiles.support.hard_window: wanted less than soft_window ({limit})" in message

    def test_a_soft_window_alone_cuts_the_default_hard_one(self, load: Load) -> None:
        windows = load(support(soft_window="10s")).profile("support").windows
        assert windows.hard_for(3600) <= 5

    def test_hosts_are_read_as_names_without_the_port_of_https(self, load: Load) -> None:
        profile = load(support(hosts=["Git.Example.org:443", "b:8443"])).profile("support")
        assert profile.hosts == ("git.example.org", "b:8443")

    def test_a_claim_outlasts_any_request(self, load: Load) -> None:
        """Nothing has to be configured for that, and nothing can be configured that breaks it."""
        assert load(support(request_timeout="90s")).profile("support").claim_seconds == 97
        message = self.refused(load, request_timeout="5m").message
        assert "profiles.support.request_timeout: wanted at most 4m" in message

    def test_the_claim_time_of_earlier_versions_is_passed_over_with_one_warning(
        self, load: Load, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert load(support(claim_time="15s")).profile("support").claim_seconds == 15
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "claim_time has no effect any more" in caplog.text

    @pytest.mark.parametrize("name", [".", "..", ".a", "-a", "a b", "a/b", "ä", "x" * 65, ""])
    def test_a_profiles_name_that_is_none_is_refused(self, load: Load, name: str) -> None:
        with pytest.raises(ConfigError, match=r"profiles.*: wanted a name of letters"):
            load(vault() | {"profiles": {name: {}}})


# Every key there is, each with the kinds that it does not take.
TEXTS: tuple[object, ...] = (5, True, 1.5, [], {}, "", " ", "a\nb", "\x1b[31m")
FLAGS: tuple[object, ...] = (0, 1, "true", [], {})
SPANS: tuple[object, ...] = (True, -1, "soon", [], {}, "", float("nan"), float("inf"), 10**30)
TABLES: tuple[object, ...] = (5, "a", True, [], [{}])
WRONG: Mapping[str, tuple[object, ...]] = {
    "cache": FLAGS,
    "timeout": (*SPANS, 0, 0.5),
    "vault": TABLES,
    "profiles": TABLES,
    "vault.address": TEXTS,
    "vault.namespace": TEXTS,
    "vault.auth": TABLES,
    **{f"vault.{name}": TEXTS for name in ("ca_cert", "ca_path", "client_cert", "client_key", "tls_server_name")},
    "vault.skip_verify": FLAGS,
    "vault.client_timeout": (*SPANS, 0),
    "vault.auth.method": (*TEXTS, "tokens"),
    "vault.auth.role_id": TEXTS,
    "vault.auth.secret_id_file": TEXTS,
    "vault.auth.mount": TEXTS,
    "vault.auth.wrapped": FLAGS,
    "profiles.support": TABLES,
    "profiles.support.grant": TABLES,
    "profiles.support.ticket": TABLES,
    **{f"profiles.support.{name}": TEXTS for name in ("client_id", "token_url", "revocation_url", "ca_cert")},
    "profiles.support.lease": (*TEXTS, "deleted"),
    **{f"profiles.support.{name}": (*SPANS, 0) for name in ("soft_window", "hard_window", "default_lifetime")},
    "profiles.support.request_timeout": (*SPANS, 0, "241s"),
    "profiles.support.reuse_grace": SPANS,
    "profiles.support.hosts": (
        "a",
        5,
        {},
        [5],
        [""],
        ["a", ""],
        ["https://a"],
        ["a/b"],
        ["u@a"],
        ["a:b"],
        ["a b"],
        [["a"]],
    ),
    **{f"profiles.support.{which}.mount": TEXTS for which in ("grant", "ticket")},
    **{f"profiles.support.{which}.path": TEXTS for which in ("grant", "ticket")},
    **{f"profiles.support.{which}.kv_version": (3, 0, 1.0, 2.0, "2", True, [], {}) for which in ("grant", "ticket")},
}
SOUND: dict[str, Any] = {
    "vault": {"address": ADDRESS, "auth": {"method": "approle", "role_id": "r"}},
    "profiles": {"support": {"grant": {}, "ticket": {}}},
}


def with_key(name: str, value: object) -> dict[str, Any]:
    """The sound document with one key set."""
    document: dict[str, Any] = json.loads(json.dumps(SOUND))
    *tables, last = name.split(".")
    table = document
    for part in tables:
        table = table[part]
    table[last] = value
    return document


@pytest.mark.parametrize(
    "sales",
    [
        {"ticket": {"path": "ticket/support/token"}},
        {"ticket": {"path": "/ticket/support/token", "kv_version": 1}},
        {"ticket": {"path": "ticket/support/token"}, "grant": {"path": "ticket/support/grant"}},
    ],
)
def test_two_profiles_with_one_ticket_path_are_refused(load: Load, sales: dict[str, Any]) -> None:
    """`get sales` would print what support published."""
    with pytest.raises(ConfigError, match=r"profiles\.\w+ and profiles\.\w+ have one ticket path") as refused:
        load({"vault": {"address": "https://vault"}, "profiles": {"support": {}, "sales": sales}})
    assert {"profiles.support", "profiles.sales"} <= set(refused.value.message.split())
    assert "secret/ticket/support/token" in refused.value.message
    assert "ticket = {" in refused.value.hint


def test_profiles_that_differ_only_by_case_are_refused(load: Load) -> None:
    """Vault has its policies' names in lower case: they would share one."""
    with pytest.raises(ConfigError, match=r"profiles\.Support and profiles\.support differ only by case") as refused:
        load(vault() | {"profiles": {"Support": {}, "support": {}}})
    assert "Rename one" in refused.value.hint


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_a_wrong_kind_names_file_key_and_what_is_allowed(load: Load, tmp_path: Path, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(ConfigError) as refused:
            load(with_key(name, value), VAULT_TOKEN=MARK)
        said = refused.value.message
        assert said.startswith(f"{tmp_path / 'config.toml'}: {name}: wanted "), (value, said)
        assert len(said.partition(": wanted ")[2]) > 3, (value, said)
        assert refused.value.hint


TABLE_NAMES = ("", "vault.", "vault.auth.", "profiles.support.", "profiles.support.grant.", "profiles.support.ticket.")
KNOWN = {name.rpartition(".")[2] for name in WRONG} | {"support", "role", "jwt_file", "token_file"}
new_names = st.text(st.characters(categories=["L", "N"], include_characters="_-. "), min_size=1).filter(
    lambda name: name not in KNOWN
)


@given(table=st.sampled_from(TABLE_NAMES), name=new_names, value=st.sampled_from([1, "a", {}, []]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_unknown_key_is_always_named_with_its_file(
    load: Load, tmp_path: Path, table: str, name: str, value: object
) -> None:
    document = with_key(f"{table}\0", value)
    inner = document
    for part in table.split(".")[:-1]:
        inner = inner[part]
    inner[name] = inner.pop("\0")
    with pytest.raises(ConfigError) as refused:
        load(document)
    assert refused.value.message == f"{tmp_path / 'config.toml'}: {table}{name}: there is no such key"
    assert "Allowed here: " in refused.value.hint


@pytest.mark.parametrize(
    ("text", "named", "meant"),
    [
        ("[valt]\naddress = 'https://a'", "valt", "vault"),
        ("[vault]\nadress = 'https://a'", "vault.adress", "address"),
        ("[vault]\naddress = 'https://a'\nauth = { metod = 'none' }", "vault.auth.metod", "method"),
        ("vault.address = 'https://a'\n[profiles.a]\nclientid = 'x'", "profiles.a.clientid", "client_id"),
        ("vault.address = 'https://a'\n[profiles.a]\nsoft_windw = 5", "profiles.a.soft_windw", "soft_window"),
        ("vault.address = 'https://a'\n[profiles.a.grant]\nmout = 'x'", "profiles.a.grant.mout", "mount"),
        ("timout = 5\nvault.address = 'https://a'", "timout", "timeout"),
        (
            "vault.address = 'https://a'\nvault.auth = { method = 'approle', roleid = 'r' }",
            "vault.auth.roleid",
            "role_id",
        ),
    ],
)
def test_a_typo_is_told_with_what_was_meant(load: Load, text: str, named: str, meant: str) -> None:
    """Whatever else the typo makes missing: the typo is what a person has to see."""
    with pytest.raises(ConfigError, match=f": {named}: there is no such key") as refused:
        load(text)
    assert refused.value.hint.startswith(f"Did you mean {meant}? ")


@pytest.mark.parametrize(
    "content",
    [
        b"vault = ",
        b"[vault]\n[vault]",
        b"\xff\xfe",
        b"a = 1\na = 2",
        b"x = " + b"[" * 5000 + b"]" * 5000,
        b"x = " + b"9" * 5000,
        b"x = 2026-13-45",
        b"\0",
    ],
    ids=["cut", "twice", "no text", "key twice", "deep", "long number", "no date", "nul"],
)
def test_a_file_that_is_no_toml_is_an_error_that_names_it(load: Load, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(VAULT_TICKET_CONFIG=str(path), VAULT_TOKEN=MARK)
    assert refused.value.message.startswith(f"{path}: is not TOML: ")


def test_a_folder_in_the_files_place_is_an_error_that_names_it(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": can't be read \(is a directory\)"):
        load(VAULT_TICKET_CONFIG=str(tmp_path))


def test_a_file_that_may_not_be_read_is_an_error_that_names_it(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal is put in its way."""

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    path = tmp_path / "config.toml"
    path.write_text(EXAMPLE)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError, match=r"config\.toml: can't be read \(permission denied\)"):
        load(VAULT_TICKET_CONFIG=str(path))


letters = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)


def tables(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(KNOWN)) | letters, inner, max_size=4)


scalars = letters | st.integers() | st.booleans() | st.floats() | st.sampled_from([ADDRESS, "20m", "none", "unix:///a"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | tables(inner), max_leaves=6)


documents = tables(values) | st.tuples(st.sampled_from(sorted(WRONG)), values).map(lambda one: with_key(*one))
variables = st.dictionaries(
    st.sampled_from([prefix + name for prefix in ("BAO_", "VAULT_") for name in environment.SERVER_NAMES]),
    letters | st.sampled_from([ADDRESS, "true", "20s", "unix:///a", "http://[", "https://u:hunter2@h"]),
    max_size=4,
)


@given(document=documents, environ=variables)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_document_and_no_environment_brings_anything_but_settings_or_a_config_error(
    load: Load, tmp_path: Path, document: dict[str, Any], environ: dict[str, str]
) -> None:
    path = tmp_path / "config.toml"
    try:
        found = load(document, **environ, **{} if "VAULT_TOKEN" in environ else {"VAULT_TOKEN": MARK})
    except ConfigError as error:
        said = error.message
        place = said.startswith((f"{path}: ", *(f"{name}: wanted " for name in environ)))
        assert place or said == "no Vault address is configured"
        assert error.hint  # noqa: PT017
        assert MARK not in said + error.hint  # noqa: PT017
        assert "hunter2" not in said + error.hint  # noqa: PT017
    else:
        assert MARK not in repr(found)
        assert found.vault.address.startswith(("http://", "https://"))
        for profile in found.profiles.values():
            assert profile.grant.kv_version == 2
            assert profile.request_timeout < profile.claim_seconds < MAX_SECONDS


@given(content=st.binary(max_size=200) | st.text(st.sampled_from("[]{}=\"'\\.,#\n abc019-:TZ_")).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_in_the_file_bring_anything_but_settings_or_a_config_error(
    load: Load, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bytes.toml"
    path.write_bytes(content)
    try:
        load(VAULT_TICKET_CONFIG=str(path), VAULT_ADDR=ADDRESS, VAULT_TOKEN=MARK)
    except ConfigError as error:
        assert str(path) in error.message  # noqa: PT017 - both ends are right
        assert MARK not in error.message + error.hint  # noqa: PT017
