"""What is published, and what is withdrawn: by the real commands, against a real server."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.e2e.rewriting import RewritingProxy
from tests.e2e.site import CLIENT, Site, seconds


def late_write(site: Site, version: int) -> int:
    """A publication that names the version it saw; the status."""
    body = {"options": {"cas": version}, "data": {"access_token": "late"}}
    return site.bao.api("POST", f"secret/data/{site.ticket_path}", body)[0]


class TestRevoke:
    def test_readers_get_nothing_and_a_late_write_fails(self, site: Site) -> None:
        site.store()
        site.get("--force")
        seen = (site.ticket() or {})["metadata"]["version"]

        assert site.helper.run("revoke", site.profile).code == 0

        reader = site.bao.api("GET", f"secret/data/{site.ticket_path}", token=site.token_of("reader"))
        assert reader[0] == 404
        for version in range(1, seen + 1):
            path = f"secret/data/{site.ticket_path}?version={version}"
            assert site.bao.api("GET", path)[0] == 404
        assert late_write(site, seen) == 400

    def test_the_next_get_publishes_again(self, site: Site) -> None:
        site.store()
        before = site.get().json()["AccessToken"]
        site.helper.run("revoke", site.profile)

        after = site.get().json()["AccessToken"]

        assert after != before
        assert (site.ticket() or {})["data"]["access_token"] == after

    def test_twice_is_no_error(self, site: Site) -> None:
        site.store()
        site.helper.run("revoke", site.profile)

        done = site.helper.run("revoke", site.profile)

        assert done.code == 0
        assert "There was no ticket" in done.err


class TestAnotherGrant:
    def test_its_ticket_is_never_handed_out(self, site: Site) -> None:
        """`sales` on one host publishes where `support` does on another."""
        site.store()
        support = site.get().json()["AccessToken"]
        sales = {"ticket": {"path": site.ticket_path}, "grant": {"path": f"ticket/{site.profile}-sales/grant"}}
        site.reader.environ["VAULT_TOKEN"] = site.token_of("refresher")
        site.reader.configure({"profiles": {"sales": site.profile_config(**sales)}})

        done = site.reader.run("get", "sales")

        assert (done.code, done.out) == (66, "")
        assert "another grant's" in done.err
        doctor = site.reader.run("doctor", "sales")
        assert support not in done.err + doctor.out + doctor.err

    def test_two_profiles_with_one_path_are_refused(self, site: Site) -> None:
        sales = site.profile_config(ticket={"path": site.ticket_path})
        site.helper.configure({"profiles": {site.profile: site.profile_config(), "sales": sales}})

        done = site.get()

        assert (done.code, done.out) == (78, "")
        assert f"profiles.{site.profile}" in done.err
        assert "profiles.sales" in done.err


class TestOddDocuments:
    def test_an_absurd_end_is_healed(self, site: Site) -> None:
        site.store(None, "--no-verify")
        site.put_ticket(left=11 * 366 * 86400, token="absurd")

        found = site.get().json()["AccessToken"]

        assert found != "absurd"
        assert (site.ticket() or {})["data"]["access_token"] == found

    def test_an_absurd_pause_is_healed(self, site: Site) -> None:
        site.put_grant(
            {
                "refresh_token": site.api.issue_grant(CLIENT),
                "client_id": CLIENT,
                "vault_ticket": {"not_before": "2099-01-01T00:00:00Z"},
            }
        )

        waits = site.get()
        assert waits.code == 75
        assert "2099" not in waits.err
        assert site.get("--force").code == 0
        assert "not_before" not in (site.grant() or {})["data"]["vault_ticket"]

    def test_a_client_id_that_is_a_number(self, site: Site) -> None:
        token = site.api.issue_grant("4711")
        site.configure(site.helper, client_id=None)
        site.put_grant({"refresh_token": token, "client_id": 4711})

        assert site.get().code == 0
        assert (site.grant() or {})["data"]["client_id"] == 4711


class TestClocksThatDiffer:
    def test_a_past_end_is_never_printed(self, site: Site) -> None:
        """Vault's clock is two hours behind this host's: the SDKs here would take the ticket for an expired one."""
        site.store(None, "--no-verify")
        behind = timedelta(hours=2)
        real = int(site.bao.address.rpartition(":")[2])
        with RewritingProxy(real, date=lambda: format_datetime(datetime.now(UTC) - behind, usegmt=True)) as proxy:
            site.helper.environ["VAULT_ADDR"] = proxy.address
            for warm in (False, True):
                ends = seconds(site.get().json()["Expiration"])
                assert 3500 < ends - time.time() <= 3601, warm
            assert site.api.stats().requests == 1
