"""A token that may have been spent, or that was: by the real commands, against a real server."""

import shutil
import time

import pytest

from tests.e2e.site import Site
from tests.support import faults
from tests.support.faults import Fault


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
