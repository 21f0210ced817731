"""Saving a rotated refresh token by the call that has spent for it."""

import pytest

from tests.fakes import fail_once
from tests.world import ADDRESS, PROFILE, SEALED, FakeProcess, World
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import Grant
from vault_ticket_plugin.refresh import rotation
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.refresh.rotation import IN_MEMORY_SECONDS
from vault_ticket_plugin.secret import Secret


def entry(world: World, known: Grant) -> Entry:
    return rotation.entry_of(known, Secret("a-2"), PROFILE, ADDRESS, world.time.now)


def save(world: World, known: Grant, process: FakeProcess | None = None, seconds: float = 20.0) -> Grant | None:
    one = process or world.host().process()
    kept = entry(world, known)
    one.host.journal.write(kept)
    return rotation.save(one.store, one.host.journal, kept, known, one.deadline(seconds))


def test_the_rotated_token_takes_the_spent_ones_place(world: World) -> None:
    world.seed("a-1", owner="team")

    saved = save(world, world.grant())

    assert saved is not None
    assert saved.version == 2
    assert world.document()["refresh_token"] == "a-2"
    assert world.document()["owner"] == "team"


def test_it_is_noted_from_which_token_and_when(world: World) -> None:
    """So that of two rotated from the same one the later stands."""
    world.seed("a-1")

    save(world, world.grant())

    rotated = world.grant().rotation
    assert rotated is not None
    assert (rotated.spent, rotated.fingerprint) == (Secret("a-1").fingerprint(), Secret("a-2").fingerprint())
    assert 0 <= world.time.now - rotated.at < 1


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
    assert save(world, world.grant(), process) is not None
    assert world.vault.read(PROFILE.grant).version == 2


def test_a_deleted_grant_is_not_written_anew(world: World) -> None:
    """The journal keeps the token; a person decided that the grant should be gone."""
    world.seed("a-1")
    known = world.grant()
    world.vault.delete(PROFILE.grant)
    world.vault.write(PROFILE.grant, {})
    world.vault.delete(PROFILE.grant)
    with pytest.raises(GrantMissing):
        save(world, known)


def test_an_edit_at_every_try_ends_with_the_deadline(world: World) -> None:
    world.seed("a-1")
    process = world.host().process()

    def edit(call: str, path: str) -> None:  # noqa: ARG001
        if call == "write":
            world.wait(1)
            world.edit(n=world.time.now)

    process.store.before = edit
    with pytest.raises((CasMismatch, VaultUnreachable)):
        save(world, world.grant(), process, 5)
    assert world.token == "a-1"


class TestOnDisk:
    """The runtime folder may be gone at logout, and with it what is only there."""

    def places(self, world: World) -> tuple[list[str], list[str]]:
        """The entries in memory, and on disk."""
        host = world.host()
        kept = [path.name for path in host.state.iterdir()] if host.state.exists() else []
        return [name for name in host.runtime.names() if name.endswith(".journal")], kept

    def test_a_save_that_works_at_once_leaves_the_disk_alone(self, world: World) -> None:
        world.seed("a-1")
        save(world, world.grant())
        assert self.places(world)[1] == []

    @pytest.mark.parametrize("silent", [False, True])
    def test_after_the_first_failure_or_a_second_it_is_there(self, world: World, silent: bool) -> None:
        """A Vault that does not answer must not keep the token off the disk for long."""
        world.seed("a-1")
        process, seen = world.host().process(), []

        def away(call: str, path: str) -> None:  # noqa: ARG001
            seen.append(self.places(world))
            if len(seen) == 1 and not silent:
                raise SEALED
            world.wait(IN_MEMORY_SECONDS + 0.1 if silent else 0)

        process.store.before = away
        name = entry(world, world.grant()).name
        assert save(world, world.grant(), process) is not None
        assert seen[:2] == [([name], []), ([], [name])]

    def test_a_no_of_vaults_is_not_asked_about_twice(self, world: World) -> None:
        world.seed("a-1")
        process = world.host().process()
        process.store.before = fail_once("write", VaultDenied("Vault denies POST"))
        with pytest.raises(VaultDenied):
            save(world, world.grant(), process)
