"""`store`: what is proven, what is written, and that nothing changes where it goes wrong."""

from unittest.mock import patch

import pytest

from tests.fakes import Fault, fail_once
from tests.world import ADDRESS, ALWAYS_NOTED, PROFILE, SEALED, FakeProcess, World
from vault_ticket_plugin.errors import (
    CasMismatch,
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SaveFailed,
    SpendInDoubt,
    VaultDenied,
)
from vault_ticket_plugin.model import Claim, ClientIdentity
from vault_ticket_plugin.refresh.carrier import Patient
from vault_ticket_plugin.secret import Secret

GRANT, TICKET = PROFILE.grant.path, PROFILE.ticket.path


def desk(world: World) -> FakeProcess:
    """Where the person sits."""
    return world.host("desk").process()


def test_a_token_is_proven_by_one_refresh_and_what_it_was_rotated_to_is_stored(world: World) -> None:
    ticket = desk(world).store_token(world.server.issue())
    assert ticket is not None
    assert (world.token, world.document()["client_id"]) == ("a-2", "client-1")
    assert world.published() == "ticket-1"
    assert world.host("desk").waiting() == []
    assert world.host("web-1").process().get() == "ticket-1"


def test_unproven_it_is_stored_as_given(world: World) -> None:
    assert desk(world).store_token("x-1", verify=False) is None
    assert world.token == "x-1"
    assert world.published() is None


def test_the_grant_is_never_read(world: World) -> None:
    """I7: who seeds it needs no right to."""
    world.seed()
    one = desk(world)
    one.store_token(world.server.issue())
    assert ("read", GRANT) not in one.store.calls


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (None, GrantRejected),
        (Fault("unreachable"), EndpointUnavailable),
        (Fault("busy"), EndpointUnavailable),
        (Fault("lost"), SpendInDoubt),
        (Fault("not_oauth"), ProtocolError),
    ],
)
def test_a_token_that_can_not_be_proven_changes_nothing(
    world: World, fault: Fault | None, error: type[Exception]
) -> None:
    before = world.seed()
    one = desk(world)
    one.endpoint.next = [fault] if fault else []
    token = world.server.issue()
    if fault is None:
        world.server.revoke(token)
    with pytest.raises(error):
        one.store_token(token)
    assert (world.token, world.vault.read(PROFILE.grant).version) == (before, 1)


def test_a_wrong_client_changes_nothing(world: World) -> None:
    before = world.seed()
    one = desk(world)
    with pytest.raises(ClientRejected):
        one.storing.store_token(
            Secret(world.server.issue()), ClientIdentity("another"), True, one.deadline(), Patient()
        )
    assert world.token == before


def test_who_may_not_write_there_spends_nothing(world: World) -> None:
    one = desk(world)
    with (
        patch.object(one.store, "may_write", return_value=False),
        pytest.raises(VaultDenied, match="will not let us write"),
    ):
        one.store_token(world.server.issue())
    assert one.endpoint.seen == []


def test_a_seed_overwrites_a_claim_and_every_note(world: World) -> None:
    """I5: a person does not wait for a refresh in flight, and the latch is about another token."""
    world.seed()
    world.note(claim=Claim("id", "web-9", world.time.now + 10, "f"), not_before=world.time.now + 100)
    desk(world).store_token(world.server.issue())
    assert set(world.notes()) == ALWAYS_NOTED


def test_a_write_by_somebody_else_in_between_is_overwritten(world: World) -> None:
    world.seed()
    one = desk(world)
    one.endpoint.after = lambda _call, _token: world.edit(owner="team")
    one.store_token(world.server.issue())
    assert world.token == "b-2"


def test_a_ticket_of_the_grant_before_is_replaced(world: World) -> None:
    """It may be of another account, and would be handed out for an hour."""
    world.put_ticket(left=7200, token="of-the-grant-before")
    desk(world).store_token(world.server.issue())
    assert world.published() == "ticket-1"


def test_a_ticket_that_can_not_be_published_is_no_failure(world: World) -> None:
    one = desk(world)
    one.store.before = fail_once("write", VaultDenied("Vault denies POST"), TICKET)
    one.store_token(world.server.issue())
    assert world.token == "a-2"


def test_a_proven_token_that_vault_does_not_take_is_kept_on_this_host(world: World) -> None:
    """74: the given one is spent, so the journal has the only good one."""
    one = desk(world)
    one.endpoint.after = lambda _call, _token: one.lose_vault()
    with pytest.raises(SaveFailed, match="sealed"):
        one.store_token(world.server.issue())
    assert [entry.refresh_token for entry in world.host("desk").waiting()] == [Secret("a-2")]
    again = desk(world)
    again.issuer.replay(again.deadline())
    assert (world.token, world.host("desk").waiting()) == ("a-2", [])


def test_an_answer_without_a_ticket_does_not_lose_the_token_that_came_with_it(world: World) -> None:
    one = desk(world)
    one.endpoint.next = [Fault("no_ticket", processed=True)]
    with pytest.raises(ProtocolError):
        one.store_token(world.server.issue())
    assert world.token == "a-2"


def test_a_write_whose_answer_was_lost_is_written_again(world: World) -> None:
    one = desk(world)
    one.store.after = fail_once("write", CasMismatch("its answer was lost"), GRANT)
    one.store_token(world.server.issue())
    assert world.token == "a-2"


class TestWaiting:
    """What an earlier `store` could not save."""

    def lose(self, world: World, given: str) -> None:
        one = desk(world)
        one.endpoint.after = lambda _call, _token: one.lose_vault()
        with pytest.raises(SaveFailed):
            one.store_token(given)

    def test_it_is_on_disk_after_the_first_failed_try(self, world: World) -> None:
        """A logout may take the runtime folder away while Vault is still tried."""
        one, seen = desk(world), []

        def away(call: str, path: str) -> None:
            if (call, path) == ("write", GRANT):
                seen.append([entry.name for entry in one.host.state.iterdir()] if one.host.state.exists() else [])
                if len(seen) == 1:
                    raise SEALED

        one.store.before = away
        one.store_token(world.server.issue())

        assert [len(names) for names in seen] == [0, 1]
        assert (world.token, one.host.waiting()) == ("a-2", [])

    def test_it_gives_way_to_the_next_store(self, world: World) -> None:
        self.lose(world, world.server.issue())
        assert len(world.host("desk").waiting()) == 1

        desk(world).store_token(world.server.issue())

        assert (world.token, world.host("desk").waiting()) == ("b-2", [])

    def test_it_stays_where_the_next_store_fails(self, world: World) -> None:
        self.lose(world, world.server.issue())
        dead = world.server.issue()
        world.server.revoke(dead)

        with pytest.raises(GrantRejected):
            desk(world).store_token(dead)

        assert [entry.refresh_token for entry in world.host("desk").waiting()] == [Secret("a-2")]

    def test_one_for_another_document_is_left_alone(self, world: World) -> None:
        self.lose(world, world.server.issue())
        elsewhere = world.host("desk").process(address=ADDRESS._replace(key="f" * 16, document="e" * 16))

        elsewhere.store_token(world.server.issue())

        assert [entry.refresh_token for entry in world.host("desk").waiting()] == [Secret("a-2")]
