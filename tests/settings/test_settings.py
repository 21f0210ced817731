"""Settings: the default profile, and what tells one ticket from another."""

import pytest

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.hosts import is_loopback
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import AUTH_METHODS, Auth, Tls, VaultSettings

MARK = "m4rk3d-vault-token"
VAULT = VaultSettings("https://vault:8200", Auth("token", token=Secret(MARK)))
SUPPORT = Profile.standard("support")
SETTINGS = Settings(VAULT, {"support": SUPPORT}, path="/etc/vault-ticket/config.toml")


def test_without_configured_profiles_every_name_stands_for_the_default_paths() -> None:
    profile = Settings(VAULT).profile("billing")
    assert str(profile.grant) == "secret/ticket/billing/grant"
    assert str(profile.ticket) == "secret/ticket/billing/token"
    assert profile.token_url == "https://api.socialboards.com/token"


def test_a_profile_that_is_not_configured_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="no profile 'suport'") as refused:
        SETTINGS.profile("suport")
    assert refused.value.message.startswith("/etc/vault-ticket/config.toml: ")
    assert "support" in refused.value.hint


class TestIdentity:
    """Another identity is another ticket: what was cached under the old one is never handed out."""

    OTHER_VAULTS = (
        VAULT._replace(address="https://other:8200"),
        VAULT._replace(namespace="ops"),
        VAULT._replace(unix_socket="/run/agent.sock"),
        VAULT._replace(auth=Auth("token", token=Secret("another token"))),
        VAULT._replace(auth=Auth("token", token_file="/run/token")),
        VAULT._replace(auth=Auth("approle", "approle", role_id="a")),
        VAULT._replace(auth=Auth("approle", "approle", role_id="b")),
        VAULT._replace(auth=Auth("approle", "other", role_id="a")),
        VAULT._replace(auth=Auth("kubernetes", "kubernetes", role="a", jwt_file="/x")),
        VAULT._replace(auth=Auth("none")),
    )
    OTHER_PROFILES = (
        SUPPORT._replace(name="other"),
        SUPPORT._replace(client_id="4711"),
        SUPPORT._replace(token_url="https://elsewhere/token"),
        SUPPORT._replace(ticket=Location("secret", "elsewhere")),
        SUPPORT._replace(ticket=SUPPORT.ticket._replace(kv_version=1)),
        SUPPORT._replace(grant=Location("other", SUPPORT.grant.path)),
    )

    def test_whatever_decides_which_ticket_it_is_changes_it(self) -> None:
        made = [SETTINGS.ticket_key(SUPPORT)]
        made += [SETTINGS._replace(vault=vault).ticket_key(SUPPORT) for vault in self.OTHER_VAULTS]
        made += [SETTINGS.ticket_key(profile) for profile in self.OTHER_PROFILES]
        made += [SETTINGS._replace(socket=path).ticket_key(SUPPORT) for path in ("/run/one", "/run/two")]
        assert len(set(made)) == len(made)

    def test_a_daemon_in_between_is_no_other_grant(self) -> None:
        """A journal that waits for Vault goes there, however tickets are had."""
        assert SETTINGS._replace(socket="/run/one").grant_key(SUPPORT) == SETTINGS.grant_key(SUPPORT)

    def test_what_does_not_decide_it_leaves_it(self) -> None:
        """Windows and timeouts may be tuned without losing the cache."""
        tuned = SUPPORT._replace(windows=Windows(60, 10), request_timeout=3.0)
        slower = SETTINGS._replace(timeout=5.0, vault=VAULT._replace(client_timeout=3.0, tls=Tls(ca_file="/ca")))
        assert SETTINGS.ticket_key(tuned) == slower.ticket_key(SUPPORT) == SETTINGS.ticket_key(SUPPORT)

    def test_a_grants_identity_depends_on_where_it_is_and_not_on_who_logs_in(self) -> None:
        """A journal's entry is still found after the login was changed."""
        same = SETTINGS._replace(vault=self.OTHER_VAULTS[-1])
        assert same.grant_key(SUPPORT) == SETTINGS.grant_key(SUPPORT)
        moved = [SETTINGS.grant_key(self.OTHER_PROFILES[-1])]
        moved += [SETTINGS._replace(vault=vault).grant_key(SUPPORT) for vault in self.OTHER_VAULTS[:3]]
        assert SETTINGS.grant_key(SUPPORT) not in moved
        assert len(set(moved)) == len(moved)

    def test_two_texts_next_to_each_other_do_not_run_together(self) -> None:
        one = Auth("approle", "approle", role="a", role_id="bc")
        other = Auth("approle", "approle", role="ab", role_id="c")
        made = {SETTINGS._replace(vault=VAULT._replace(auth=auth)).ticket_key(SUPPORT) for auth in (one, other)}
        assert len(made) == 2

    @pytest.mark.parametrize("method", AUTH_METHODS)
    def test_it_tells_no_secret(self, method: str) -> None:
        auth = Auth(method, token=Secret(MARK))  # type: ignore[arg-type]
        assert MARK not in "".join(auth.identity())
        assert MARK not in repr(SETTINGS._replace(vault=VAULT._replace(auth=auth)))


HOSTED = SUPPORT._replace(hosts=("git.example.org", "git.example.org:8443", "127.0.0.1:8080", "[::1]:9"))


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("git.example.org", "https"),
        ("Git.Example.ORG:443", "https"),
        ("git.example.org:8443", "https"),
        ("127.0.0.1:8080", "http"),
        ("[::1]:9", "http"),
    ],
)
def test_a_host_that_the_profile_names_may_have_its_ticket(host: str, scheme: str) -> None:
    assert HOSTED.serves(host, scheme)
    assert not SUPPORT.serves(host, scheme)


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("example.org", "https"),
        ("x.git.example.org", "https"),
        ("git.example.org.", "https"),
        ("git.example.org:80", "https"),
        ("git.example.org", "http"),
        ("git.example.org:8443", "http"),
        ("git.example.org", "ssh"),
        ("git.example.org", ""),
        ("", "https"),
        ("user@git.example.org", "https"),
        ("git.example.org/x", "https"),
        ("x/git.example.org", "https"),
        ("git.example.org#", "https"),
        ("git.example.org?", "https"),
        ("git.example.org\n", "https"),
        ("git.example.org\t", "https"),
        (" git.example.org", "https"),
        ("git.example.org:port", "https"),
        ("git.example.org:99999", "https"),
        ("[git.example.org", "https"),
        ("\uff47it.example.org", "https"),
        ("git.example.org\\", "https"),
    ],
)
def test_no_other_host_does_and_none_that_others_could_listen_to(host: str, scheme: str) -> None:
    assert not HOSTED.serves(host, scheme)


def test_an_address_is_shown_as_it_was_given() -> None:
    assert VAULT.shown == "https://vault:8200"
    assert VAULT._replace(address="http://localhost", unix_socket="/run/a.sock").shown == "unix:///run/a.sock"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_a_host_that_is_this_one(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "127.0.0.1.example", "10.0.0.1", "0.0.0.0", "::", "2130706433", "0x7f.1", "[::2]"]
)
def test_a_host_that_is_another_or_not_surely_this_one(host: str) -> None:
    assert not is_loopback(host)
