"""The leased path: reading tickets, publishing them so that they end with their version, withdrawing them."""

import pytest

from tests.fakes import fail_once
from tests.world import PROFILE, World
from vault_ticket_plugin.errors import CasMismatch
from vault_ticket_plugin.model import Location, Ticket, Windows
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.leased_path import LeasedVersion
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

WHERE = PROFILE.ticket


TIMES = {"issued_at": "2027-01-15T08:00:00Z", "expires_at": "2027-01-15T09:00:00Z"}


def ticket(world: World, left: float = 3600.0, token: str = "t-1") -> Ticket:
    now = float(int(world.time.now))  # as Vault tells it
    return Ticket(Secret(token), "Bearer", now, now + left)


def publish(world: World, ticket: Ticket, seen: LeasedVersion | None = None, profile: Profile = PROFILE) -> list[str]:
    """The calls that it took, after one look."""
    process = world.host().process()
    store = process.store
    found = leased_path.look(store, profile.ticket, process.deadline())
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
    assert data == {"access_token": "t-1", "token_type": "Bearer", **TIMES}


def test_a_ticket_is_read_as_it_was_published(world: World) -> None:
    publish(world, ticket(world))
    process = world.host().process()
    seen = leased_path.look(process.store, WHERE, process.deadline())
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
    assert leased_path.look(process.store, WHERE, process.deadline()).ticket is None
    publish(world, ticket(world))
    assert world.published() == "t-1"


def test_withdrawing_takes_the_version_before_it_too(world: World) -> None:
    publish(world, ticket(world))
    publish(world, ticket(world, token="t-2"))
    process = world.host().process()
    assert leased_path.withdraw(process.store, WHERE, process.deadline())
    assert [one.text for one in world.vault.key(WHERE).versions] == [None, None]


def test_where_there_is_no_ticket_none_is_withdrawn(world: World) -> None:
    process = world.host().process()
    assert not leased_path.withdraw(process.store, WHERE, process.deadline())
