"""The leased path: reading tickets, publishing them so that they end with their version, withdrawing them."""

import pytest

from tests.fakes import fail_once, once
from tests.world import PROFILE, World
from vault_ticket_plugin.errors import CasMismatch, VaultUnreachable
from vault_ticket_plugin.model import MAX_LIFETIME, Location, Ticket, Windows
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

WHERE = PROFILE.ticket
OTHER = PROFILE._replace(grant=Location("secret", "ticket/sales/grant"))
OURS = leased_path.grant_fingerprint(PROFILE)

TIMES = {"issued_at": "2027-01-15T08:00:00Z", "expires_at": "2027-01-15T09:00:00Z"}


def ticket(world: World, left: float = 3600.0, token: str = "t-1") -> Ticket:
    now = float(int(world.time.now))  # as Vault tells it
    return Ticket(Secret(token), "Bearer", now, now + left)


def publish(world: World, ticket: Ticket, seen: LeasedVersion | None = None, profile: Profile = PROFILE) -> list[str]:
    """The calls that it took, after one look."""
    process = world.host().process()
    store = process.store
    found = leased_path.look(store, profile, process.deadline())
    store.calls.clear()
    leased_path.publish(store, profile, ticket, seen or found, process.deadline())
    return [call for call, _ in store.calls]


def test_a_published_ticket_ends_with_its_version(world: World) -> None:
    publish(world, ticket(world, left=3600))
    document = world.vault.read(WHERE)
    assert document.deletes_at is not None
    assert 3599 <= document.deletes_at - world.time.now <= 3600
    world.wait(3600)
    assert world.published() is None


def test_readers_find_what_they_need_and_no_more(world: World) -> None:
    publish(world, ticket(world))
    data = world.vault.read(WHERE).data
    assert data == {"access_token": "t-1", "token_type": "Bearer", "grant": OURS, **TIMES}


def test_a_ticket_is_read_as_it_was_published(world: World) -> None:
    publish(world, ticket(world))
    process = world.host().process()
    seen = leased_path.look(process.store, PROFILE, process.deadline())
    assert seen.version == 1
    assert seen.ticket is not None
    assert seen.ticket.access_token == Secret("t-1")
    assert (seen.ticket.issued_at, seen.ticket.expires_at) == (1_800_000_000, 1_800_003_600)


def test_the_next_refresh_of_equal_length_needs_no_second_call(world: World) -> None:
    """The metadata says already how long versions live."""
    assert publish(world, ticket(world, left=3600)) == ["expire", "write"]
    world.wait(3500)
    assert publish(world, ticket(world, left=3605, token="t-2")) == ["write"]


@pytest.mark.parametrize("left", [3599.0, 3500.0, 60.0])
def test_a_shorter_ticket_is_never_leased_longer_than_it_lives(world: World, left: float) -> None:
    publish(world, ticket(world, left=3600))
    publish(world, ticket(world, left=left, token="t-2"))
    document = world.vault.read(WHERE)
    assert document.deletes_at is not None
    assert document.deletes_at <= world.time.now + left


def test_an_agent_that_can_not_render_such_versions_gets_them_without_an_end(world: World) -> None:
    """`lease = "field"`: the data says when it expires, and the version stays."""
    publish(world, ticket(world))
    assert publish(world, ticket(world, token="t-2"), profile=PROFILE._replace(lease="field")) == ["expire", "write"]
    assert world.vault.read(WHERE).deletes_at is None
    assert publish(world, ticket(world, token="t-3"), profile=PROFILE._replace(lease="field")) == ["write"]


def test_on_kv_v1_the_ttl_is_half_the_soft_window(world: World) -> None:
    """It never counts down, so it must hold for whoever reads at the last moment before the soft window."""
    profile = PROFILE._replace(ticket=Location("one", "t", 1), windows=Windows(soft=600))
    assert publish(world, ticket(world, left=3600), profile=profile) == ["write"]
    assert (world.vault.read(profile.ticket).data or {})["ttl"] == "300s"


def test_a_ticket_that_is_over_is_not_published(world: World) -> None:
    assert publish(world, ticket(world, left=0.9)) == []


def test_a_ticket_that_lasts_longer_and_came_meanwhile_stays(world: World) -> None:
    stale = LeasedVersion(None, 0)
    publish(world, ticket(world, left=3600, token="the-longer-one"))
    publish(world, ticket(world, left=1800, token="the-shorter-one"), seen=stale)
    assert world.published() == "the-longer-one"


def test_a_ticket_that_ends_sooner_and_came_meanwhile_is_replaced(world: World) -> None:
    stale = LeasedVersion(None, 0)
    publish(world, ticket(world, left=1800, token="the-shorter-one"))
    publish(world, ticket(world, left=3600, token="the-longer-one"), seen=stale)
    assert world.published() == "the-longer-one"


def test_a_write_whose_answer_was_lost_is_found_to_be_done(world: World) -> None:
    process = world.host().process()
    process.store.after = fail_once("write", CasMismatch("its answer was lost"))
    leased_path.publish(process.store, PROFILE, ticket(world), LeasedVersion(None, 0), process.deadline())
    assert world.vault.read(WHERE).version == 1


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"access_token": "t"},
        {"access_token": "t", "token_type": "Bearer", "issued_at": "x", "expires_at": "y"},
        {"access_token": 7, "token_type": "Bearer", **TIMES},
        {"access_token": "a b", "token_type": "Bearer", **TIMES},
        {"access_token": "a\nb", "token_type": "Bearer", **TIMES},
        {"access_token": "t", "token_type": "", **TIMES},
    ],
)
def test_what_is_no_ticket_counts_as_none_and_is_written_over(world: World, data: dict[str, object]) -> None:
    world.vault.write(WHERE, data)
    process = world.host().process()
    assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is None
    publish(world, ticket(world))
    assert world.published() == "t-1"


class TestWithdraw:
    def test_takes_the_versions_before_it_too(self, world: World) -> None:
        publish(world, ticket(world))
        publish(world, ticket(world, token="t-2"))
        process = world.host().process()

        assert leased_path.withdraw(process.store, PROFILE, process.deadline())

        assert [one.text for one in world.vault.key(WHERE).versions] == [None, None, None]
        assert world.vault.read(WHERE).data is None

    def test_there_may_be_none(self, world: World) -> None:
        process = world.host().process()

        assert not leased_path.withdraw(process.store, PROFILE, process.deadline())
        assert world.vault.read(WHERE).version == 0

    def test_a_late_write_fails(self, world: World) -> None:
        """Destroying moves no version: what named the destroyed one would be written all the same."""
        publish(world, ticket(world))
        process = world.host().process()
        leased_path.withdraw(process.store, PROFILE, process.deadline())

        with pytest.raises(CasMismatch):
            process.store.write(WHERE, {"access_token": "t-1"}, 1, process.deadline())

    def test_is_not_undone_by_a_publication_under_way(self, world: World) -> None:
        """It landed, its answer was lost, a person withdrew it, and it is tried again."""
        writer, person = world.host().process(), world.host("desk").process()
        made = ticket(world)

        def meanwhile(call: str, path: str) -> None:
            if call == "write" and path == WHERE.path:
                writer.store.after = lambda _call, _path: None
                leased_path.withdraw(person.store, PROFILE, person.deadline())
                raise CasMismatch("its answer was lost")

        writer.store.after = meanwhile
        found = leased_path.publish(writer.store, PROFILE, made, LeasedVersion(None, 0), writer.deadline())

        assert not found
        assert world.published() is None

    def test_takes_what_came_meanwhile(self, world: World) -> None:
        publish(world, ticket(world))
        process = world.host().process()
        newer = {"access_token": "t-2", "token_type": "Bearer", **TIMES}
        process.store.before = once("write", lambda: world.vault.write(WHERE, newer))

        assert leased_path.withdraw(process.store, PROFILE, process.deadline())
        assert world.published() is None

    def test_goes_on_where_it_was_cut_short(self, world: World) -> None:
        """The empty version was written, and not destroyed."""
        publish(world, ticket(world))
        process = world.host().process()
        process.store.before = fail_once("destroy", VaultUnreachable("sealed"))
        with pytest.raises(VaultUnreachable):
            leased_path.withdraw(process.store, PROFILE, process.deadline())

        assert leased_path.look(process.store, PROFILE, process.deadline()).live is None
        assert leased_path.withdraw(process.store, PROFILE, process.deadline())
        assert [one.text for one in world.vault.key(WHERE).versions] == [None, None]

    def test_leaves_another_grants_ticket_alone(self, world: World) -> None:
        publish(world, ticket(world), profile=OTHER)
        process = world.host().process()

        assert not leased_path.withdraw(process.store, PROFILE, process.deadline())
        assert world.published() == "t-1"


class TestWhose:
    def test_another_grants_ticket_is_none(self, world: World) -> None:
        """Two hosts whose profiles name one path: neither gets the other's token."""
        publish(world, ticket(world), profile=OTHER)
        process = world.host().process()

        assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is None

    def test_one_that_names_no_grant_is_taken(self, world: World) -> None:
        world.put_ticket(left=3600, token="by-an-older-version")
        process = world.host().process()

        assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is not None

    @pytest.mark.parametrize("named", [7, "", [], {"a": 1}])
    def test_one_that_names_something_odd_is_none(self, world: World, named: object) -> None:
        world.vault.write(WHERE, {"access_token": "t", "token_type": "Bearer", "grant": named, **TIMES})
        process = world.host().process()

        assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is None


class TestBounds:
    def test_more_than_ten_years_ahead_is_no_ticket(self, world: World) -> None:
        """The next refresh writes a good one over it."""
        world.put_ticket(left=MAX_LIFETIME + 60, lifetime=3600, token="absurd")
        process = world.host().process()
        assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is None

        world.seed()
        assert process.get() == world.published() == "ticket-1"

    def test_ten_years_are_taken(self, world: World) -> None:
        world.put_ticket(left=MAX_LIFETIME - 60)
        process = world.host().process()

        assert leased_path.look(process.store, PROFILE, process.deadline()).ticket is not None
