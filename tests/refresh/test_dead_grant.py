"""A grant that was found dead: whoever is handed its last ticket is told, for as long as that lasts."""

import pytest

from tests.fakes import CLIENT, fail_once
from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import GrantRejected, VaultDenied
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.refresh.leased_path import DEAD_SINCE

TICKET = PROFILE.ticket.path


@pytest.fixture
def dead(world: World) -> World:
    """A fresh ticket is published, and somebody has found out that none will follow."""
    world.seed()
    world.host("web-1").process().get()
    world.server.revoke(world.token)
    world.host("web-1").process().get(force=True)
    return world


def web_2(world: World) -> FakeProcess:
    return world.host("web-2").process()


class TestWhileATicketLasts:
    def test_each_call_says_so(self, dead: World, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            caplog.clear()
            assert web_2(dead).get() == "ticket-1"
            assert "was found dead at 2027-01-15T08:00:0" in caplog.text
            assert "vault-ticket store support" in caplog.text

    def test_so_does_the_host_that_found_out(self, dead: World, caplog: pytest.LogCaptureFixture) -> None:
        dead.wait(120)  # its cooldown is over
        caplog.clear()

        assert dead.host("web-1").process().get() == "ticket-1"
        assert "was found dead" in caplog.text

    def test_nothing_is_asked_again(self, dead: World) -> None:
        one = web_2(dead)
        one.get()

        assert one.endpoint.seen == []

    def test_the_version_still_ends_with_its_ticket(self, dead: World) -> None:
        document = dead.vault.read(PROFILE.ticket)
        assert document.deletes_at is not None

        assert document.deletes_at <= dead.time.now + 3600

    def test_a_new_token_ends_it(self, dead: World, caplog: pytest.LogCaptureFixture) -> None:
        web_2(dead).get()
        dead.host("desk").process().store_token(dead.server.issue())
        caplog.clear()

        assert web_2(dead).get() == "ticket-2"
        assert "dead" not in caplog.text
        one = web_2(dead)
        one.get()
        assert one.store.calls == []

    def test_an_odd_note_still_counts(self, dead: World) -> None:
        data = dict(dead.vault.read(PROFILE.ticket).data or {})
        dead.vault.write(PROFILE.ticket, data | {DEAD_SINCE: ["soon", "\x1b[2J"]})

        found = web_2(dead).issuer.issue(Demand(), web_2(dead).deadline())

        assert isinstance(found.problem, GrantRejected)
        assert "soon" not in found.problem.message


def test_a_refused_client_does_not_mark_it(world: World) -> None:
    """That is one host's configuration; the others go on."""
    world.seed()
    world.host("web-1").process().get()
    world.host("web-9").process(PROFILE._replace(client_id="wrong")).get(force=True)

    assert DEAD_SINCE not in (world.vault.read(PROFILE.ticket).data or {})
    world.wait(3500)
    world.server.clients = {CLIENT}
    assert world.host("web-1").process().get() == "ticket-2"


def test_a_mark_that_can_not_be_written_is_no_failure(world: World) -> None:
    world.seed()
    world.host("web-1").process().get()
    world.server.revoke(world.token)
    one = world.host("web-1").process()
    one.store.before = fail_once("write", VaultDenied("Vault denies POST"), TICKET)

    assert one.get(force=True) == "ticket-1"
    assert world.grant().notes.rejection is not None
