"""A token that may have been spent, or that was: by the real commands, against a real server."""

import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.cli import Result, finish
from tests.support.emulator import Emulator
from tests.support.faults import Fault
from tests.support.hashicorp import Hashicorp
from tests.support.process import wait_until
from vault_ticket_plugin.clock import to_rfc3339
from vault_ticket_plugin.refresh.retry import CLIENT_LATCH_SECONDS
from vault_ticket_plugin.secret import Secret


@pytest.fixture
def careful(site: Site) -> Site:
    """A grant at a server without any grace, and a ticket in its soft window."""
    site.store(None, "--no-verify")
    site.configure(site.helper, reuse_grace="0s")
    site.put_ticket(left=600)
    return site


def notes(site: Site) -> dict[str, object]:
    found = (site.grant() or {})["data"]["vault_ticket"]
    assert isinstance(found, dict)
    return found


class TestInDoubt:
    @pytest.mark.parametrize(
        "fault",
        [
            faults.status(503, processed=True),
            faults.status(500, processed=True),
            faults.status(408, processed=True),
            faults.oauth("server_error", 503),
            faults.html(401),
            faults.html(403),
        ],
        ids=["503", "500", "408", "server_error", "a firewall's 401", "a firewall's 403"],
    )
    def test_no_second_request_while_a_ticket_is_at_hand(self, careful: Site, fault: Fault) -> None:
        careful.api.behaviour.next = [fault]

        for _ in range(3):
            done = careful.get()
            assert done.code == 0
            assert done.json()["AccessToken"] == "an-older-ticket"
            time.sleep(1.2)  # the cooldown of this host

        assert careful.api.stats().requests == 1
        assert careful.api.stats().reuses == 0
        assert "in_doubt" in notes(careful)
        assert "rejected" not in notes(careful)
        (found,) = careful.helper.run("status", "--format", "json").json()
        assert "its answer was lost" in found["problem"]

    def test_is_asked_in_the_hard_window(self, careful: Site) -> None:
        """A firewall's page: the token was not spent after all."""
        careful.api.behaviour.next = [faults.html(403)]
        careful.get()
        careful.put_ticket(left=10)
        shutil.rmtree(careful.helper.runtime / "vault-ticket")

        assert careful.get().json()["AccessToken"] != "an-older-ticket"
        assert "in_doubt" not in notes(careful)

    @pytest.mark.parametrize("fault", [faults.status(429), faults.oauth("temporarily_unavailable", 503)])
    def test_what_says_that_nothing_was_done_is_tried_again(self, careful: Site, fault: Fault) -> None:
        careful.api.behaviour.next = [fault]

        assert careful.get().json()["AccessToken"] != "an-older-ticket"
        assert careful.api.stats().requests == 2


class TestClientLatch:
    def test_stands_until_it_is_asked_again(self, site: Site) -> None:
        """`status` says so, asks nobody, and is green once the next `get` has asked."""
        token = site.api.issue_grant(CLIENT)
        rejected = {
            "fingerprint": Secret(token).fingerprint(CLIENT, site.api.token_url),
            "code": "invalid_client",
            "at": to_rfc3339(time.time() - CLIENT_LATCH_SECONDS - 60),
            "holder": "web-9",
        }
        site.put_grant({"refresh_token": token, "client_id": CLIENT, "vault_ticket": {"rejected": rejected}})

        (found,) = site.helper.run("status", "--format", "json").json()
        assert "invalid_client" in found["problem"]
        doctor = site.helper.run("doctor", site.profile, "--format", "json").json()
        (grant,) = [one for one in doctor["findings"] if one["check"] == "grant"]
        assert (grant["status"], "invalid_client" in grant["message"]) == ("fail", True)
        assert site.api.stats().requests == 0

        assert site.get().code == 0
        (found,) = site.helper.run("status", "--format", "json").json()
        assert found["problem"] is None


def store_again(site: Site, token: str, *more: str) -> Result:
    return site.operator.run("store", site.profile, *more, stdin=f"{token}\n")


def assert_refused_unspent(site: Site, done: Result) -> None:
    """Nothing was sent, and what is in Vault still works."""
    assert (done.code, done.out) == (77, ""), done.err
    assert "spent before" in done.err
    assert "Nothing was sent or changed" in done.err
    assert site.api.stats().reuses == 0
    assert site.api.refresh_current(site.refresh_token())
    assert site.get("--force").code == 0


class TestStoredTwice:
    """Under exactly policies/*.hcl: the operator never reads the grant."""

    @pytest.mark.parametrize("more", [(), ("--no-verify",)])
    def test_what_store_proved(self, site: Site, more: tuple[str, ...]) -> None:
        """The same file again, an hour later: it killed the family, and `status` stayed green."""
        token = site.store()
        site.get("--force")

        assert_refused_unspent(site, store_again(site, token, *more))

    @pytest.mark.parametrize("more", [(), ("--no-verify",)])
    def test_what_was_stored_unproven(self, site: Site, more: tuple[str, ...]) -> None:
        token = site.store(None, "--no-verify")
        site.get()

        assert_refused_unspent(site, store_again(site, token, *more))

    def test_what_a_hand_wrote(self, site: Site) -> None:
        token = site.api.issue_grant(CLIENT)
        site.put_grant({"refresh_token": token})
        site.get()

        assert_refused_unspent(site, store_again(site, token))

    def test_a_server_that_does_not_rotate(self, site: Site) -> None:
        site.api.behaviour.rotate = False
        token = site.store()
        site.get("--force")

        assert store_again(site, token).code == 0

    def test_a_store_that_failed(self, site: Site) -> None:
        token = site.api.issue_grant(CLIENT)
        site.api.behaviour.next = [faults.status(404)]
        assert store_again(site, token).code == 76

        assert store_again(site, token).code == 0

    def test_a_corrected_client(self, site: Site) -> None:
        token = site.api.issue_grant(CLIENT)
        site.configure(site.operator, client_id="nobody")
        assert store_again(site, token).code == 78
        site.configure(site.operator)

        assert store_again(site, token).code == 0

    def test_other_metadata_stays(self, site: Site) -> None:
        site.store(None, "--no-verify")
        path = f"secret/metadata/{site.grant_path}"
        site.bao.write(path, {"custom_metadata": {"owner": "team"}, "max_versions": 20})
        site.get()

        found = site.bao.api("GET", path)[1]["data"]
        assert found["custom_metadata"]["owner"] == "team"
        assert len(found["custom_metadata"]["vault_ticket_spent"]) == 16
        assert found["max_versions"] == 20


class TestOldPolicy:
    """Of a version before the notes: `store` says so, and a refresh goes on."""

    def test_an_operators(self, site: Site) -> None:
        name = f"old-{site.profile}"
        site.bao.write_policy(
            name,
            f"""
            path "secret/data/{site.grant_path}" {{ capabilities = ["create", "update"] }}
            path "secret/metadata/{site.grant_path}" {{ capabilities = ["read"] }}
            """,
        )
        site.operator.environ["VAULT_TOKEN"] = site.bao.token_for(name, ttl="5m", no_default_policy=True)

        done = store_again(site, site.api.issue_grant(CLIENT))

        assert done.code == 0
        said = [line for line in done.err.splitlines() if "noted as spent" in line]
        assert len(said) == 1
        assert f"need `patch` on secret/metadata/{site.grant_path}" in said[0]
        assert site.get().code == 0

    def test_a_helpers(self, site: Site) -> None:
        name = f"old-{site.profile}"
        site.bao.write_policy(
            name,
            f"""
            path "secret/data/{site.grant_path}" {{ capabilities = ["read", "update"] }}
            path "secret/data/{site.ticket_path}" {{ capabilities = ["create", "read", "update"] }}
            path "secret/metadata/{site.ticket_path}" {{ capabilities = ["create", "read", "update"] }}
            """,
        )
        site.store(None, "--no-verify")
        site.helper.environ["VAULT_TOKEN"] = site.bao.token_for(name, ttl="5m", no_default_policy=True)

        done = site.get()

        assert (done.code, done.err) == (0, "")


class TestLostAnswer:
    """To the write of `store`, which had landed."""

    @pytest.fixture
    def site(self, hashicorp: Hashicorp, emulator: Emulator, tmp_path: Path) -> Site:
        return Site(hashicorp, emulator, tmp_path)

    def lose(self, site: Site) -> None:
        """The first answer is lost; then Vault is away until `behave()`."""
        assert isinstance(site.bao, Hashicorp)
        where = {"path": f"secret/data/{site.grant_path}", "method": "POST"}
        site.bao.answers(502, processed=True, **where)  # type: ignore[arg-type]
        site.bao.answers(503, times=None, **where)  # type: ignore[arg-type]

    def rotate_meanwhile(self, site: Site, token: str, *more: str) -> Result:
        """`store`, and while it tries again a helper rotates what had landed."""
        assert isinstance(site.bao, Hashicorp)
        self.lose(site)
        running = site.operator.start("store", site.profile, *more)
        assert running.stdin is not None
        running.stdin.write(f"{token}\n")
        running.stdin.close()
        running.stdin = None
        wait_until(lambda: site.grant() is not None, "the write")
        site.helper.environ["VAULT_ADDR"] = site.bao.real.address
        assert site.get("--force").code == 0
        site.bao.behave()
        return finish(running)

    def test_who_may_read_finds_it_there(self, site: Site) -> None:
        site.operator.environ["VAULT_TOKEN"] = site.bao.root_token

        done = self.rotate_meanwhile(site, site.api.issue_grant(CLIENT))

        assert done.code == 0, done.err
        assert site.api.refresh_current(site.refresh_token())
        assert site.api.stats().reuses == 0

    @pytest.mark.parametrize(("more", "code"), [((), 74), (("--no-verify",), 69)])
    def test_who_may_not_read_overwrites_nothing(self, site: Site, more: tuple[str, ...], code: int) -> None:
        token = site.api.issue_grant(CLIENT)

        done = self.rotate_meanwhile(site, token, *more)

        assert (done.code, done.out) == (code, "")
        assert "it may be ours" in done.err
        assert site.api.refresh_current(site.refresh_token())
        # As the hints say: once more, and with the helper's token.
        assert_refused_unspent(site, store_again(site, token, *more))
        site.operator.environ["VAULT_TOKEN"] = site.helper.environ["VAULT_TOKEN"]
        assert site.operator.run("get", site.profile).code == 0
        assert not list(site.operator.state.rglob("*.journal"))
        assert site.api.stats().reuses == 0


class TestWhoseToken:
    """`store` asks with the caller's own token before the helper's login, and says which."""

    @pytest.fixture
    def helpers(self, site: Site) -> Site:
        """The helper's host, where AppRole is configured."""
        role_id, secret_id = site.bao.enable_approle(site.profile, ["ticket-refresher"], token_no_default_policy=True)
        file = site.operator.secret_file("secret-id", secret_id)
        auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(file)}
        site.configure(site.operator, vault={"auth": auth})
        site.operator.environ.pop("VAULT_TOKEN")
        return site

    @pytest.mark.parametrize("name", ["VAULT_TOKEN", "BAO_TOKEN"])
    def test_the_environments(self, helpers: Site, name: str) -> None:
        helpers.operator.environ[name] = helpers.token_of("operator")

        done = store_again(helpers, helpers.api.issue_grant(CLIENT))

        assert done.code == 0, done.err
        assert f"with the token in {name}." in done.err

    def test_a_token_files(self, helpers: Site) -> None:
        file = helpers.operator.home / ".vault-token"
        file.touch(mode=0o600)
        file.write_text(helpers.token_of("operator"))

        done = store_again(helpers, helpers.api.issue_grant(CLIENT))

        assert done.code == 0, done.err
        assert f"with the token in {file}." in done.err

    def test_the_helpers_without_one(self, helpers: Site) -> None:
        """It may not create a grant: nothing is spent."""
        token = helpers.api.issue_grant(CLIENT)

        done = store_again(helpers, token)

        assert (done.code, done.out) == (77, "")
        assert "with the approle login" in done.err
        assert helpers.api.refresh_current(token)

    def test_one_that_is_over_says_which(self, helpers: Site) -> None:
        helpers.operator.environ["VAULT_TOKEN"] = "s.nosuchtoken"

        done = store_again(helpers, helpers.api.issue_grant(CLIENT))

        assert (done.code, done.out) == (77, "")
        assert "with the token in VAULT_TOKEN" in done.err
        assert "the approle login is used where there is none" in done.err


def test_a_failed_store_changes_nothing_on_this_host(site: Site) -> None:
    site.store()
    site.helper.environ["VAULT_TOKEN"] = site.bao.root_token
    site.get()
    entries = {path: path.read_text() for path in site.helper.runtime.rglob("*.ticket")}
    assert entries

    assert site.helper.run("store", site.profile, stdin="not-a-token\n").code == 77

    assert {path: path.read_text() for path in site.helper.runtime.rglob("*.ticket")} == entries


class TestDeadWhileATicketLasts:
    def test_get_and_status_say_so(self, site: Site) -> None:
        """On every host, a reader's too; and no longer once a new token is stored."""
        site.store()
        token = site.get().json()["AccessToken"]
        site.api.revoke(site.refresh_token())
        site.get("--force")

        for host in (site.helper, site.reader):
            done = host.run("get", site.profile)
            assert (done.code, done.json()["AccessToken"]) == (0, token)
            assert f"vault-ticket store {site.profile}" in done.err
            (found,) = host.run("status", "--format", "json").json()
            assert found["state"] == "fresh"
            assert f"vault-ticket store {site.profile}" in found["hint"]

        site.store()
        for host in (site.helper, site.reader):
            done = host.run("get", site.profile, "--no-cache")
            assert (done.code, done.err) == (0, "")
            assert done.json()["AccessToken"] != token
