"""A daemon whose secret id is response-wrapped: the wrapping token works once, and it logs in again and again."""

from tests.daemon.daemons import Daemon, configure
from tests.e2e.site import CLIENT, Site
from tests.support.process import wait_until


def test_logs_in_again_after_a_reload_and_after_its_tokens_end(site: Site) -> None:
    role_id, _ = site.bao.enable_approle(
        site.profile, ["ticket-refresher"], token_ttl="3s", token_max_ttl="3s", token_no_default_policy=True
    )
    file = site.helper.secret_file("secret-id", site.bao.secret_id(site.profile, wrap_ttl="5m"))
    auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(file), "wrapped": True}
    del site.helper.environ["VAULT_TOKEN"]
    configure(site, site.helper, vault={"auth": auth})
    site.api.behaviour.lifetime = 6
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})

    with Daemon(site.helper) as daemon:
        daemon.wait_until_ready()
        first = daemon.token(site.profile)
        wait_until(lambda: daemon.token(site.profile) != first, "a ticket by another login", timeout=30)

        daemon.hang_up()
        wait_until(lambda: daemon.said("the configuration is taken"), "the reload")
        second = daemon.token(site.profile)
        wait_until(lambda: daemon.token(site.profile) != second, "a ticket after the reload", timeout=30)

        assert not daemon.said("can't be unwrapped")
