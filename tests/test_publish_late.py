"""A ticket that could not be published: usable, not fresh, and published by the next call without another spend."""

import pytest

from tests.fakes import Hook, fail_once
from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin import warm
from vault_ticket_plugin.errors import VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import Demand
from vault_ticket_plugin.refresh import leased_path

GRANT, TICKET = PROFILE.grant.path, PROFILE.ticket.path


def refuse(path: str) -> Hook:
    """Every write to it fails."""

    def hook(call: str, where: str) -> None:
        if call == "write" and where == path:
            raise VaultUnreachable("sealed", "Unseal it.")

    return hook


def unpublished(world: World) -> FakeProcess:
    """A call that obtained a ticket and could not publish it; its host."""
    world.seed()
    one = world.host().process()
    one.store.before = refuse(TICKET)
    assert one.get() == "ticket-1"
    assert world.published() is None
    return one


class TestNextCall:
    def test_publishes_it(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        unpublished(world)
        caplog.clear()

        one = world.host().process()

        assert one.get() == world.published() == "ticket-1"
        assert caplog.text == ""
        assert one.endpoint.seen == []

    def test_then_it_is_fresh(self, world: World) -> None:
        unpublished(world)
        world.host().process().get()

        one = world.host().process()

        assert one.get() == "ticket-1"
        assert one.store.calls == []

    def test_other_hosts_find_it(self, world: World) -> None:
        unpublished(world)
        world.host().process().get()

        other = world.host("web-2").process()

        assert other.get() == "ticket-1"
        assert other.endpoint.seen == []

    def test_is_no_warm_one(self, world: World) -> None:
        """The warm path looks at nothing but the cache, and would keep it from being published for an hour."""
        one = unpublished(world)
        assert one.cache.folder is not None

        entry = one.cache.folder.read(warm.entry_name(PROFILE.name, "signature"))

        assert entry is not None
        assert entry.split("\n")[4].split(" ")[2] == "0.0"

    def test_says_so_while_it_still_can_not(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        unpublished(world)
        assert "not published at secret/ticket/support/token yet" in caplog.text
        caplog.clear()

        one = world.host().process()
        one.store.before = refuse(TICKET)

        assert one.get() == "ticket-1"
        assert "not published at secret/ticket/support/token yet" in caplog.text
        assert one.endpoint.seen == []

    def test_does_not_try_at_every_call(self, world: World) -> None:
        """What fails is remembered, as every other failure is."""
        unpublished(world)
        first, second = world.host().process(), world.host().process()
        first.store.before = second.store.before = refuse(TICKET)
        first.get()

        assert second.get() == "ticket-1"
        assert second.store.calls == []

    def test_leaves_one_that_is_refused(self, world: World) -> None:
        """By force another one is wanted: this one may be dead."""
        unpublished(world)

        assert world.host().process().get(force=True) == world.published() == "ticket-2"
        assert [one.text is not None for one in world.vault.key(PROFILE.ticket).versions] == [True]


class TestMeanwhile:
    def test_one_that_lasts_longer_stays(self, world: World) -> None:
        unpublished(world)
        world.wait(60)
        assert world.host("web-2").process().get() == "ticket-2"

        assert world.host().process().get() == world.published() == "ticket-2"

    def test_what_a_person_withdrew_is_not_brought_back(self, world: World) -> None:
        """The write had landed, and only its answer was lost."""
        world.seed()
        one = world.host().process()
        one.store.after = fail_once("write", VaultUnreachable("its answer was lost"), TICKET)
        one.get()
        person = world.host("desk").process()
        assert leased_path.withdraw(person.store, PROFILE, person.deadline())

        again = world.host().process()

        assert again.get() == "ticket-2"
        assert world.published() == "ticket-2"

    def test_a_journal_is_saved_afterwards(self, world: World) -> None:
        """Vault was away for the save as well: the next call publishes, then saves, and spends nothing."""
        world.seed()
        one = world.host().process()
        one.store.before = lambda call, _path: (
            refuse(GRANT)(call, GRANT) if one.endpoint.seen and call == "write" else None
        )
        assert one.get() == "ticket-1"
        assert len(world.host().waiting()) == 1

        again = world.host().process()

        assert again.get() == world.published() == "ticket-1"
        again.issuer.save_what_waits(again.deadline())
        assert (world.token, world.host().waiting(), again.endpoint.seen) == ("a-2", [], [])


def test_denied_for_good_still_gives_tickets(world: World) -> None:
    """A policy without the leased path: one refresh a host, and a line."""
    world.seed()
    one = world.host().process()
    one.store.before = fail_once("expire", VaultDenied("Vault denies POST", "The policies need `update`."), TICKET)

    found = one.issuer.issue(Demand(), one.deadline())

    assert isinstance(found.problem, VaultDenied)
    assert found.unpublished == 0
