"""The main job, the daemon, doctor and setup on a server in HashiCorp's words (tests/support/hashicorp.py)."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.daemon.daemons import Daemon, configure
from tests.e2e.site import Site
from tests.e2e.test_doctor import doctor, wrong
from tests.e2e.test_setup import administrator, state
from tests.support.emulator import Emulator
from tests.support.hashicorp import Hashicorp
from tests.support.process import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(hashicorp: Hashicorp, emulator: Emulator, tmp_path: Path) -> Site:
    return Site(hashicorp, emulator, tmp_path)


def approle(site: Site, token_ttl: str = "20m") -> dict[str, str]:
    role_id, secret_id = site.bao.enable_approle(
        site.profile, ["ticket-refresher"], token_ttl=token_ttl, token_no_default_policy=True
    )
    file = site.helper.secret_file("secret_id", secret_id)
    return {"method": "approle", "role_id": role_id, "secret_id_file": str(file)}


def end_all_logins(site: Site) -> None:
    site.bao.write("sys/leases/revoke-prefix/auth/approle/login", {})


class TestMainJob:
    def test_store_get_again_and_revoke(self, site: Site) -> None:
        site.store()
        first = site.get("--format", "token")
        assert first.code == 0, first.err
        again = site.get("--format", "token", "--no-cache")
        assert again.out == first.out
        forced = site.get("--format", "token", "--force")
        assert site.api.access_alive(forced.out.strip())
        assert site.reader.run("get", site.profile, "--format", "token").out == forced.out
        assert site.helper.run("revoke", site.profile).code == 0

    def test_every_call_says_that_it_is_one(self, site: Site, hashicorp: Hashicorp) -> None:
        """A listener may require the header, and answers 412 without."""
        site.store()
        assert site.get().code == 0
        assert all(one.headers.get("x-vault-request") == "true" for one in hashicorp.seen)


class TestInvalidToken:
    def test_a_given_one_is_refused_as_that(self, site: Site) -> None:
        site.store()
        done = site.get("--no-cache", env={"VAULT_TOKEN": "hvs.nonsense"})
        assert done.code == 77
        assert "does not accept our token" in done.err
        assert "policies" not in done.err

    def test_the_daemon_logs_in_once_more(self, site: Site, hashicorp: Hashicorp) -> None:
        """Its upkeep looks at the token every two seconds, and finds it dead."""
        site.store()
        configure(site, site.helper, vault={"auth": approle(site, token_ttl="6s")})

        def calls(path: str, since: int) -> list[int]:
            return [at for at, one in enumerate(hashicorp.seen) if at >= since and one.path == path]

        with Daemon(site.helper) as daemon:
            daemon.wait_until_ready()
            mark = len(hashicorp.seen)
            end_all_logins(site)
            wait_until(lambda: bool(calls("auth/approle/login", mark)), "another login")
            again = calls("auth/approle/login", mark)[0]
            wait_until(lambda: len(calls("auth/token/lookup-self", again)) >= 3, "looks at the new token")
            assert len(calls("auth/approle/login", mark)) == 1
            assert site.api.access_alive(daemon.token(site.profile))

    def test_doctor_says_so(self, site: Site) -> None:
        site.store()
        site.helper.environ["VAULT_TOKEN"] = "hvs.nonsense"
        code, found = doctor(site.helper, site.profile)
        assert code == 77
        assert "does not accept our token" in found["login"]["message"]


class TestLogin:
    def test_one_that_is_denied_is_told_as_what_it_may_be(self, site: Site) -> None:
        auth = approle(site) | {"mount": f"nowhere-{uuid.uuid4().hex[:6]}"}
        site.configure(site.helper, vault={"auth": auth})
        done = site.get()
        assert done.code == 77
        for said in ("no approle login at that mount", "no such role", "15 minutes"):
            assert said in done.err

    def test_five_wrong_ones_lock_out_and_the_sixth_says_how_long(self, site: Site) -> None:
        auth = approle(site)
        site.helper.secret_file("secret_id", str(uuid.uuid4()))
        site.configure(site.helper, vault={"auth": auth})
        said = [site.get("--force").err for _ in range(6)]
        assert "invalid role or secret ID" in said[0]
        assert "15 minutes" in said[-1]


class TestNamespaces:
    def test_doctor_finds_out_that_they_are_ignored(self, site: Site) -> None:
        """A namespace that nobody has made is answered like the root's own."""
        site.store()
        site.helper.environ["VAULT_NAMESPACE"] = "team-blue"
        assert site.get("--no-cache").code == 0
        code, found = doctor(site.helper, site.profile)
        assert code == 78
        assert wrong(found) == {"namespace": "fail"}
        assert "team-blue is in its root" in found["namespace"]["message"]

    def test_setup_changes_nothing_there_unless_it_is_told_to(
        self, site: Site, hashicorp: Hashicorp, tmp_path: Path
    ) -> None:
        admin = administrator(hashicorp, tmp_path / "admin")
        admin.environ["VAULT_NAMESPACE"] = "team-blue"
        arguments = ("setup", site.profile, "--role", site.profile, "--approle", site.profile)
        before = state(hashicorp)
        refused = admin.run(*arguments)
        assert refused.code == 78
        assert "ignores namespaces" in refused.err
        assert state(hashicorp) == before
        assert "--accept-ignored-namespace" in refused.err
        assert admin.run(*arguments, "--accept-ignored-namespace").code == 0


class TestPassing:
    @pytest.mark.parametrize("retry_after", [None, 1])
    def test_a_rate_limit_is_waited_out(self, site: Site, hashicorp: Hashicorp, retry_after: int | None) -> None:
        site.store()
        hashicorp.rate_limited(3, retry_after=retry_after)
        done = site.get("--no-cache")
        assert done.code == 0, done.err

    def test_one_that_lasts_says_so(self, site: Site, hashicorp: Hashicorp) -> None:
        site.store()
        hashicorp.rate_limited(1000)
        done = site.get("--no-cache", "--timeout", "2s")
        assert done.code == 69
        assert "limits how often it may be asked" in done.err

    def test_a_mount_that_is_being_upgraded_is_waited_for(self, site: Site, hashicorp: Hashicorp) -> None:
        site.store()
        hashicorp.answers(400, ["Upgrading from non-versioned to versioned data."], times=2, path="secret/data/*")
        assert site.get("--no-cache").code == 0


class TestLasting:
    def test_a_token_that_is_far_too_long(self, site: Site) -> None:
        """Most likely a JWT, or a whole file."""
        done = site.get("--no-cache", env={"VAULT_TOKEN": "x" * 9000})
        assert done.code == 78
        assert "a JWT or a whole file" in done.err

    def test_a_document_over_the_json_limits_is_said_at_once(self, site: Site) -> None:
        """What others keep beside our keys is in every rewrite."""
        token = site.api.issue_grant("client-1")
        deep: list[object] = []
        for _ in range(600):
            deep = [deep]
        site.bao.write(f"secret/data/{site.grant_path}", {"data": {"refresh_token": token, "note": deep}})
        done = site.get()
        assert done.code == 65
        assert "size or shape" in done.err
        assert site.api.stats().refreshes == 0

    def test_a_login_without_a_role_id(self, site: Site, hashicorp: Hashicorp) -> None:
        site.configure(site.helper, vault={"auth": approle(site)})
        texts = ["failed to determine alias name from login request"]
        hashicorp.answers(500, texts, times=None, path="auth/approle/login")
        done = site.get()
        assert done.code == 78
        assert "Set role_id" in done.err


class TestCachingProxy:
    def test_one_that_serves_an_old_grant_for_ever_is_named(self, site: Site, hashicorp: Hashicorp) -> None:
        site.store()
        old = site.bao.read(f"secret/data/{site.grant_path}")
        site.bao.write(f"secret/data/{site.grant_path}", {"data": old["data"] | {"touched": "yes"}} if old else {})
        assert site.helper.run("revoke", site.profile).code == 0  # a ticket that can be used would be handed out
        hit = {"data": old}
        hashicorp.answers(
            200, times=None, path=f"secret/data/{site.grant_path}", headers={"X-Cache": "HIT"}, body=hit, method="GET"
        )
        done = site.get()
        assert done.code == 78
        assert "caching proxy" in done.err
        assert "VAULT_ADDR" in done.err


def test_a_redacted_server_is_as_good_as_any(site: Site, hashicorp: Hashicorp) -> None:
    """Its version is nowhere: nothing is decided by it."""
    site.store()
    site.configure(site.helper, vault={"auth": approle(site)})
    hashicorp.redacted = True
    code, found = doctor(site.helper, site.profile)
    assert (code, wrong(found)) == (0, {})
    assert found["version"]["message"] == "the server keeps its version to itself"
    assert site.get("--force").code == 0


@pytest.mark.slow
def test_login_daemon_doctor_setup_and_store_in_hashicorps_words() -> None:
    """Their own tests, on a `bao` that calls itself Vault 2.1 and answers like it (tests/support/worded-vault)."""
    files = ("tests/vault", "tests/e2e/test_main_job.py", "tests/e2e/test_doctor.py", "tests/e2e/test_setup.py")
    daemon = ("tests/daemon/test_faults.py", "tests/daemon/test_service.py", "tests/daemon/test_check.py")
    # A client's certificate gets no further than the worded server.
    passed_over = "--deselect=tests/vault/test_login.py::test_a_client_certificate"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", passed_over, *files, *daemon],
        env=os.environ | {"VAULT_TICKET_TEST_SERVER": str(ROOT / "tests/support/worded-vault")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
