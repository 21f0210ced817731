"""`store`: what is proven, what is written, and that nothing changes where it goes wrong."""

from unittest.mock import patch

import pytest

from tests.fakes import Fault, fail, fail_once, lost_answer
from tests.world import ALWAYS_NOTED, PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SaveFailed,
    SpendInDoubt,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.model import Claim, ClientIdentity, Demand
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
    world.note(claim=Claim("id", "web-9", 15.0, "f"), not_before=world.time.now + 100)
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


class TestLostAnswer:
    """To the write of the grant: the same write is tried again, and fails on itself."""

    def test_what_landed_is_not_written_again(self, world: World) -> None:
        one = desk(world)
        one.store.after = fail_once("write", lost_answer(), GRANT)

        one.store_token(world.server.issue())

        assert (world.token, world.vault.read(PROFILE.grant).version) == ("a-2", 1)
        assert world.host("desk").waiting() == []

    @pytest.mark.parametrize("verify", [True, False])
    def test_what_was_rotated_since_stays(self, world: World, verify: bool) -> None:
        """Writing it once more would bring a spent token back."""
        one = desk(world)

        def rotate(call: str, path: str) -> None:
            if call == "write" and path == GRANT:
                one.store.after = lambda _call, _path: None
                world.host("web-1").process().refresh(demand=Demand(force=True))
                raise lost_answer()

        one.store.after = rotate
        one.store_token(world.server.issue(), verify=verify)

        assert world.token == world.server.newest(world.token)
        assert world.server.current(world.token)

    def test_what_did_not_land_is_written(self, world: World) -> None:
        """Somebody else was first, and the person's word stands."""
        world.seed()
        one = desk(world)

        def edit_instead(call: str, path: str) -> None:
            if call == "write" and path == GRANT:
                one.store.before = lambda _call, _path: None
                world.edit(owner="team")
                raise lost_answer()

        one.store.before = edit_instead
        one.store_token(world.server.issue())

        assert world.token == "b-2"

    def test_who_may_not_read_overwrites_nothing(self, world: World) -> None:
        """Reported, and kept in the journal until somebody who may read finds it in place."""
        one = desk(world)

        def rotate(call: str, path: str) -> None:
            if call == "read" and path == GRANT:
                raise VaultDenied("Vault denies GET")
            if call == "write" and path == GRANT:
                world.host("web-1").process().refresh(demand=Demand(force=True))
                raise lost_answer()

        one.store.after = rotate
        with pytest.raises(SaveFailed, match="it may be ours"):
            one.store_token(world.server.issue())
        assert world.token == "a-3"

        helper = desk(world)
        helper.issuer.replay(helper.deadline())

        assert (world.token, world.host("desk").waiting()) == ("a-3", [])
        assert world.server.current("a-3")

    @pytest.mark.parametrize("denied", [VaultDenied("Vault denies GET"), None], ids=["unread", "read"])
    def test_a_clean_mismatch_is_overwritten(self, world: World, denied: VaultDenied | None) -> None:
        """Who seeds need not be able to read; a person's word stands."""
        world.seed()
        one = desk(world)
        one.endpoint.after = lambda _call, _token: world.edit(owner="team")
        if denied is not None:
            one.store.before = fail_once("read", denied, GRANT)

        one.store_token(world.server.issue())

        assert world.token == "b-2"

    def test_what_a_replay_of_it_saved_stays(self, world: World) -> None:
        """Another session of this user has saved the entry, and its token was rotated since."""
        one = desk(world)

        def replay(call: str, path: str) -> None:
            if call == "write" and path == GRANT:
                one.store.before = lambda _call, _path: None
                other = desk(world)
                other.issuer.replay(other.deadline())
                world.host("web-1").process().refresh(demand=Demand(force=True))

        one.store.before = replay
        one.store_token(world.server.issue())

        assert (world.token, world.server.reuses) == ("a-3", 0)
        assert world.host("desk").waiting() == []


class TestThisHost:
    """What is remembered here is of the grant before: it goes once that is another, and not before."""

    @pytest.mark.parametrize("fault", [None, Fault("unreachable"), Fault("lost"), Fault("not_oauth")])
    def test_a_failed_store_changes_nothing(self, world: World, fault: Fault | None) -> None:
        world.seed()
        kept = desk(world).get()
        one = desk(world)
        one.endpoint.next = [fault] if fault else []
        with pytest.raises(VaultTicketError):
            one.store_token("bad-1" if fault is None else world.server.issue())

        again = desk(world)

        assert again.get() == kept
        assert again.store.calls == []

    @pytest.mark.parametrize("verify", [True, False])
    def test_a_store_forgets_the_old_ticket(self, world: World, verify: bool) -> None:
        world.seed()
        desk(world).get()

        desk(world).store_token(world.server.issue(), verify=verify)

        assert desk(world).cache.ticket() is None

    def test_so_does_one_that_waits_in_the_journal(self, world: World) -> None:
        world.seed()
        desk(world).get()
        one = desk(world)
        one.store.before = fail("write", VaultUnreachable("sealed"), GRANT)
        with pytest.raises(SaveFailed):
            one.store_token(world.server.issue())

        assert desk(world).cache.ticket() is None
