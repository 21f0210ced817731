"""A refresh token that was spent is noted, and `store` refuses it before it is spent a second time."""

import pytest

from tests.fakes import Fault, fail, fail_once
from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import ClientRejected, GrantRejected, SaveFailed, VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import ClientIdentity, Demand, Location
from vault_ticket_plugin.refresh import spent_tokens
from vault_ticket_plugin.refresh.carrier import Patient
from vault_ticket_plugin.refresh.spent_tokens import KEY, MAX_TEXT
from vault_ticket_plugin.secret import Secret

GRANT = PROFILE.grant.path


def desk(world: World) -> FakeProcess:
    return world.host("desk").process()


def web(world: World) -> FakeProcess:
    return world.host("web-1").process()


def marks(world: World) -> list[str]:
    return world.vault.key(PROFILE.grant).custom.get(KEY, "").split()


def refuse(world: World, token: str, verify: bool = True) -> None:
    """It is refused, nothing is sent, nothing changes, and the grant lives on."""
    before, one = world.document(), desk(world)
    with pytest.raises(GrantRejected, match="spent before") as refused:
        one.store_token(token, verify)
    assert "Nothing was sent or changed" in refused.value.hint
    assert one.endpoint.seen == []
    assert world.document() == before
    assert world.server.current(world.token)


class TestStoredTwice:
    @pytest.mark.parametrize("verify", [True, False])
    def test_after_store_proved_it(self, world: World, verify: bool) -> None:
        """The same file again: a strict server would end the whole family."""
        token = world.server.issue()
        desk(world).store_token(token)

        refuse(world, token, verify)

    @pytest.mark.parametrize("verify", [True, False])
    def test_after_the_refresher_rotated_what_was_stored_unproven(self, world: World, verify: bool) -> None:
        token = world.server.issue()
        desk(world).store_token(token, verify=False)
        web(world).refresh()

        refuse(world, token, verify)

    def test_after_the_refresher_rotated_what_a_hand_wrote(self, world: World) -> None:
        token = world.seed()
        web(world).refresh()

        refuse(world, token)

    def test_after_a_hand_patched_it_in(self, world: World) -> None:
        """`kv patch` leaves our notes of the token before it."""
        world.seed()
        web(world).refresh()
        token = world.server.issue()
        world.edit(refresh_token=token)
        web(world).refresh(demand=Demand(force=True))

        refuse(world, token)

    def test_after_a_hand_wrote_the_document_anew(self, world: World) -> None:
        """The notes are beside the document, not in it."""
        token = world.server.issue()
        desk(world).store_token(token)
        world.seed()

        refuse(world, token)

    def test_after_the_journal_was_replayed(self, world: World) -> None:
        token, one = world.server.issue(), desk(world)
        one.store.before = fail("write", VaultUnreachable("sealed"), GRANT)
        with pytest.raises(SaveFailed):
            one.store_token(token)
        again = desk(world)
        again.issuer.replay(again.deadline())

        refuse(world, token)


class TestNotHindered:
    @pytest.mark.parametrize("fault", [Fault("unreachable"), Fault("busy"), Fault("not_oauth")])
    def test_a_store_that_failed(self, world: World, fault: Fault) -> None:
        token, one = world.server.issue(), desk(world)
        one.endpoint.next = [fault]
        with pytest.raises(Exception, match="endpoint"):
            one.store_token(token)

        desk(world).store_token(token)

        assert world.token == "a-2"

    def test_a_corrected_client(self, world: World) -> None:
        token, one = world.server.issue(), desk(world)
        with pytest.raises(ClientRejected):
            one.storing.store_token(Secret(token), ClientIdentity("wrong"), True, one.deadline(), Patient())

        desk(world).store_token(token)

        assert world.token == "a-2"

    def test_a_server_that_does_not_rotate(self, world: World) -> None:
        world.server.rotate = False
        token = world.server.issue()
        for _ in range(3):
            desk(world).store_token(token)
            web(world).refresh(demand=Demand(force=True))

        assert marks(world) == []

    def test_the_token_that_is_in_the_grant(self, world: World) -> None:
        """It was not spent yet."""
        desk(world).store_token(world.server.issue())

        desk(world).store_token(world.token)

        assert world.token == "a-3"


class TestNotes:
    def test_a_machines_rotation_is_not_noted(self, world: World) -> None:
        """Nobody has it in a file, and there is one an hour."""
        world.seed()
        for _ in range(5):
            web(world).refresh(demand=Demand(force=True))

        assert len(marks(world)) == 1

    def test_the_oldest_is_dropped(self, world: World) -> None:
        world.seed()
        one = desk(world)
        for number in range(40):
            fingerprint = Secret(f"token-{number}").fingerprint()
            assert spent_tokens.note(one.store, PROFILE.grant, fingerprint, one.deadline()) is None

        text = world.vault.key(PROFILE.grant).custom[KEY]
        assert len(text) <= MAX_TEXT
        assert len(marks(world)) == 30
        known = [
            spent_tokens.is_noted(one.store, PROFILE.grant, Secret(f"token-{number}").fingerprint(), one.deadline())
            for number in (0, 9, 10, 39)
        ]
        assert known == [False, False, True, True]

    def test_is_of_no_use_for_another_grant(self, world: World) -> None:
        """Two grants' notes don't tell whether a token was in both."""
        one, other = desk(world), Location("secret", "ticket/sales/grant")
        world.seed()
        world.vault.write(other, {})
        for where in (PROFILE.grant, other):
            spent_tokens.note(one.store, where, Secret("a-1").fingerprint(), one.deadline())

        mine, theirs = (world.vault.key(where).custom[KEY] for where in (PROFILE.grant, other))
        assert mine != theirs
        assert Secret("a-1").fingerprint() not in mine + theirs

    @pytest.mark.parametrize("text", ["", "odd", "x" * 512, "ünï " * 100, "a" * 17])
    def test_what_somebody_else_put_there_is_no_note(self, world: World, text: str) -> None:
        world.seed()
        world.vault.key(PROFILE.grant).custom[KEY] = text
        token = world.server.issue()

        desk(world).store_token(token)

        assert len(world.vault.key(PROFILE.grant).custom[KEY]) <= MAX_TEXT
        refuse(world, token)

    def test_other_keys_stay(self, world: World) -> None:
        world.seed()
        world.vault.key(PROFILE.grant).custom["owner"] = "team"
        desk(world).store_token(world.server.issue())

        assert world.vault.key(PROFILE.grant).custom["owner"] == "team"


class TestOldPolicy:
    def test_store_says_so_and_goes_on(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        one = desk(world)
        one.store.before = fail_once("note", VaultDenied("Vault denies PATCH", "The policies need `patch`."))

        one.store_token(world.server.issue())

        assert world.token == "a-2"
        (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "could not be noted as spent (Vault denies PATCH). The policies need `patch`." in said

    def test_a_refresh_goes_on_in_silence(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.seed()
        one = web(world)
        one.store.before = fail_once("note", VaultDenied("Vault denies PATCH", "The policies need `patch`."))

        assert one.get() == "ticket-1"
        assert [record for record in caplog.records if record.levelname == "WARNING"] == []

    def test_who_may_not_see_the_notes_may_store(self, world: World) -> None:
        one = desk(world)
        one.store.before = fail_once("metadata", VaultDenied("Vault denies GET"), skip=1)

        one.store_token(world.server.issue())

        assert world.token == "a-2"
