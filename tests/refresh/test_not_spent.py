"""What counts as not spent: a token in doubt is left alone, and a refused client is asked about again, slowly."""

import pytest

from tests.fakes import CLIENT, Fault
from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import ClientRejected, EndpointUnavailable, GrantRejected, SpendInDoubt
from vault_ticket_plugin.refresh.retry import CLIENT_LATCH_SECONDS

NO_GRACE = PROFILE._replace(reuse_grace=0.0)
UNKNOWN = PROFILE._replace(client_id="unknown")


def process(world: World, host: str = "web-1", profile: object = NO_GRACE) -> FakeProcess:
    return world.host(host).process(profile)  # type: ignore[arg-type]


class TestDoubt:
    def test_without_grace_nobody_sends_it_again(self, world: World) -> None:
        """A ticket is at hand until its hard window begins: no host spends the same token for it, not even at once."""
        world.seed()
        first, second = process(world), process(world, "web-2")
        first.endpoint.next = [Fault("lost")]

        with pytest.raises(SpendInDoubt):
            first.refresh(patient=False)
        for _ in range(3):
            with pytest.raises(SpendInDoubt, match="web-1"):
                second.refresh(patient=False)
            world.wait(0.3)

        assert (first.endpoint.seen, second.endpoint.seen) == (["a-1"], [])

    def test_is_tried_in_the_hard_window(self, world: World) -> None:
        world.seed()
        one = process(world)
        one.endpoint.next = [Fault("lost")]
        with pytest.raises(SpendInDoubt):
            one.refresh(patient=False)

        assert process(world, "web-2").refresh(patient=True) == "ticket-1"

    def test_a_pause_with_it_is_kept(self, world: World) -> None:
        world.seed()
        one = process(world)
        one.endpoint.next = [Fault("lost", retry_after=60)]

        with pytest.raises(SpendInDoubt):
            one.refresh()

        notes = world.grant().notes
        assert notes.doubt is not None
        assert notes.not_before is not None
        assert 59 <= notes.not_before - world.time.now <= 61

    def test_a_pause_beyond_the_grace_ends_the_tries(self, world: World) -> None:
        """A second try after the server's grace would be a reuse."""
        world.seed()
        one = process(world, profile=PROFILE._replace(reuse_grace=2.0))
        one.endpoint.next = [Fault("lost", retry_after=4)]

        with pytest.raises(SpendInDoubt):
            one.refresh()

        assert one.endpoint.seen == ["a-1"]

    def test_a_busy_answer_does_not_outlast_the_grace(self, world: World) -> None:
        """What was lost before it may still have been spent."""
        world.seed()
        one = process(world, profile=PROFILE._replace(reuse_grace=2.0))
        one.endpoint.next = [Fault("lost"), Fault("busy", retry_after=3)]

        with pytest.raises(SpendInDoubt):
            one.refresh()

        assert one.endpoint.seen == ["a-1", "a-1"]


class TestClientLatch:
    def test_is_asked_again_once_in_a_quarter_of_an_hour(self, world: World) -> None:
        """By one host of all: the latch's time in the document is renewed under its claim."""
        world.seed()
        hosts = [process(world, f"web-{number}", UNKNOWN) for number in range(4)]

        for _ in range(40):
            for one in hosts:
                with pytest.raises(ClientRejected):
                    one.refresh()
            world.wait(60)

        asked = sum(len(one.endpoint.seen) for one in hosts)
        assert asked == 1 + int(40 * 60 / CLIENT_LATCH_SECONDS)

    def test_who_asks_again_keeps_the_others_from_it(self, world: World) -> None:
        """Also if its own try does not get through."""
        world.seed()
        with pytest.raises(ClientRejected):
            process(world, "web-1", UNKNOWN).refresh()
        world.wait(CLIENT_LATCH_SECONDS + 1)
        away = process(world, "web-2", UNKNOWN)
        away.endpoint.next = [Fault("unreachable")] * 99

        with pytest.raises(EndpointUnavailable):
            away.refresh()
        other = process(world, "web-3", UNKNOWN)
        with pytest.raises(ClientRejected):
            other.refresh()

        assert other.endpoint.seen == []

    def test_an_answer_lost_meanwhile_keeps_it(self, world: World) -> None:
        world.seed()
        unknown = UNKNOWN._replace(reuse_grace=0.0)
        with pytest.raises(ClientRejected):
            process(world, "web-1", unknown).refresh()
        world.wait(CLIENT_LATCH_SECONDS + 1)
        one = process(world, "web-2", unknown)
        one.endpoint.next = [Fault("lost")]
        with pytest.raises(SpendInDoubt):
            one.refresh()

        other = process(world, "web-3", unknown)
        with pytest.raises(ClientRejected):
            other.refresh()

        assert other.endpoint.seen == []

    def test_heals_by_itself(self, world: World) -> None:
        """The server was being set up: nobody has to do anything."""
        world.seed(client_id="new")
        by_grant = PROFILE._replace(client_id=None)
        with pytest.raises(ClientRejected):
            process(world, "web-1", by_grant).refresh()
        world.server.clients = {CLIENT, "new"}
        world.wait(CLIENT_LATCH_SECONDS + 1)

        assert process(world, "web-2", by_grant).refresh() == "ticket-1"

    def test_a_dead_token_is_never_asked_about_again(self, world: World) -> None:
        world.seed()
        world.server.revoke("a-1")
        with pytest.raises(GrantRejected):
            process(world).refresh()
        world.wait(100 * CLIENT_LATCH_SECONDS)

        other = process(world, "web-2")
        with pytest.raises(GrantRejected, match="not asked again"):
            other.refresh()

        assert other.endpoint.seen == []
