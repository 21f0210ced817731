"""Saving a rotated refresh token, and bringing a journal's entry into Vault later."""

from typing import Literal

import pytest

from tests.fakes import CLIENT, fail_once
from tests.world import GRANT_IDENTITY, PROFILE, World
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import Claim, ClientIdentity, Doubt, Grant
from vault_ticket_plugin.refresh import rotation
from vault_ticket_plugin.refresh.journal import Entry
from vault_ticket_plugin.secret import Secret


def entry(world: World, spent: str = "a-1", kind: Literal["rotation", "seed"] = "rotation", version: int = 1) -> Entry:
    return Entry(
        kind=kind,
        profile=PROFILE.name,
        grant=GRANT_IDENTITY,
        where=PROFILE.grant,
        spent=Secret(spent).fingerprint(),
        refresh_token=Secret("a-2"),
        client=ClientIdentity(CLIENT),
        at=world.time.now,
        version=version,
    )


def save(world: World, known: Grant | None = None) -> Grant | None:
    process = world.host().process()
    return rotation.save(process.store, entry(world), known, process.deadline())


def test_the_rotated_token_takes_the_spent_ones_place(world: World) -> None:
    world.seed("a-1", owner="team")
    saved = save(world)
    assert saved is not None
    assert saved.version == 2
    assert world.document()["refresh_token"] == "a-2"
    assert world.document()["owner"] == "team"


def test_an_unrelated_edit_in_between_is_kept(world: World) -> None:
    world.seed("a-1")
    known = world.grant()
    world.edit(owner="team")
    assert save(world, known) is not None
    assert (world.token, world.document()["owner"]) == ("a-2", "team")


def test_a_persons_token_in_between_stands(world: World) -> None:
    world.seed("a-1")
    known = world.grant()
    world.seed("b-1")
    assert save(world, known) is None
    assert world.token == "b-1"


def test_a_write_whose_answer_was_lost_is_found_to_be_done(world: World) -> None:
    world.seed("a-1")
    process = world.host().process()
    process.store.after = fail_once("write", CasMismatch("its answer was lost"))
    assert rotation.save(process.store, entry(world), world.grant(), process.deadline()) is not None
    assert world.vault.read(PROFILE.grant).version == 2


def test_a_stale_read_does_not_pass_for_a_re_seed(world: World) -> None:
    """A standby may still show the token before the one that we spent; that is nobody's re-seed."""
    world.seed("a-0")
    world.seed("a-1")
    process = world.host().process()
    process.store.behind = 1
    waiting = entry(world, version=2)

    def catch_up(call: str, path: str) -> None:  # noqa: ARG001
        if len(process.store.calls) >= 3:
            process.store.behind = 0

    process.store.before = catch_up
    assert rotation.replay(process.store, waiting, process.deadline())
    assert world.token == "a-2"


def test_a_grant_that_was_deleted_with_all_its_versions_and_seeded_anew_is_not_taken_for_a_stale_one(
    world: World,
) -> None:
    waiting = entry(world, version=7)
    world.wait(60)
    world.seed("b-1")
    process = world.host().process()
    assert not rotation.replay(process.store, waiting, process.deadline())
    assert world.token == "b-1"


def test_a_standby_that_does_not_catch_up_in_time_leaves_the_entry_waiting(world: World) -> None:
    world.seed("a-0")
    process = world.host().process()
    with pytest.raises(VaultUnreachable):
        rotation.replay(process.store, entry(world, version=2), process.deadline(3))


def test_a_deleted_grant_is_not_written_anew(world: World) -> None:
    """The journal keeps the token; a person decided that the grant should be gone."""
    world.seed("a-1")
    world.vault.delete(PROFILE.grant)
    with pytest.raises(GrantMissing):
        save(world)


def test_an_edit_at_every_try_ends_with_the_deadline(world: World) -> None:
    world.seed("a-1")
    process = world.host().process()

    def edit(call: str, path: str) -> None:  # noqa: ARG001
        if call == "write":
            world.wait(1)
            world.edit(n=world.time.now)

    process.store.before = edit
    with pytest.raises((CasMismatch, VaultUnreachable)):
        rotation.save(process.store, entry(world), None, process.deadline(5))
    assert world.token == "a-1"


def test_a_rotation_is_replayed_once(world: World) -> None:
    world.seed("a-1")
    process = world.host().process()
    assert rotation.replay(process.store, entry(world), process.deadline())
    assert rotation.replay(process.store, entry(world), process.deadline())
    assert (world.token, world.vault.read(PROFILE.grant).version) == ("a-2", 2)


# -- what a person gave to `store`, and the server rotated


def replay_seed(world: World, version: int = 1, deny: bool = False) -> bool:
    process = world.host().process()
    if deny:
        process.store.before = fail_once("read", VaultDenied("Vault denies GET", ""))
    return rotation.replay(process.store, entry(world, kind="seed", version=version), process.deadline())


def test_a_seed_is_replayed_over_what_it_was_to_replace(world: World) -> None:
    world.seed("x-1")
    world.wait(10)
    assert replay_seed(world)
    assert (world.token, world.document()["client_id"]) == ("a-2", CLIENT)


def test_a_seed_is_replayed_where_nothing_is_stored_yet(world: World) -> None:
    assert replay_seed(world, version=0)
    assert world.token == "a-2"


def test_a_later_seed_by_a_person_stands(world: World) -> None:
    waiting = entry(world, kind="seed")
    world.wait(10)
    world.seed("b-1")
    process = world.host().process()
    assert not rotation.replay(process.store, waiting, process.deadline())
    assert world.token == "b-1"


def test_who_may_not_read_the_grant_replays_a_seed_where_nothing_has_changed(world: World) -> None:
    world.seed("x-1")
    assert replay_seed(world, version=1, deny=True)
    assert world.token == "a-2"


def test_who_may_not_read_the_grant_overwrites_nothing_that_has_changed(world: World) -> None:
    world.seed("x-1")
    world.seed("b-1")
    with pytest.raises(CasMismatch):
        replay_seed(world, version=1, deny=True)
    assert world.token == "b-1"


def test_a_seed_that_is_there_already_is_not_written_again(world: World) -> None:
    world.seed("a-2")
    assert replay_seed(world)
    assert world.vault.read(PROFILE.grant).version == 1


@pytest.mark.parametrize("claimed_by", ["ours", "theirs"])
def test_a_replay_notes_that_somebody_else_tried_the_spent_token_meanwhile(world: World, claimed_by: str) -> None:
    """A server with reuse detection has then killed the family; whoever is refused for that is told why."""
    world.seed("a-1")
    spent = Secret("a-1").fingerprint()
    claim = Claim(claimed_by, "web-9 (pid 9)", world.time.now - 1, spent)
    world.note(claim=claim, doubt=Doubt(spent, "web-9 (pid 9)", world.time.now))
    process = world.host().process()
    waiting = entry(world, version=2)._replace(claim="ours")
    assert rotation.replay(process.store, waiting, process.deadline())
    doubt = world.grant().notes.doubt
    if claimed_by == "ours":
        assert doubt is None
    else:
        assert doubt is not None
        assert (doubt.holder, doubt.fingerprint) == ("web-9 (pid 9)", Secret("a-2").fingerprint())
