"""Somebody else writes just before each of our writes, for as long as we go on: check-and-set never lets us through.

A caching proxy that shows an old version again and again looks the same. What is tried again is tried with pauses, and
ends in time.
"""

import pytest

from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import SaveFailed

# Pauses of up to half a second over a claim's time, and then some. Without pauses there is no end to it here: simulated
# time passes only in a sleep.
MAX_WRITES = 400


def contended(world: World, path: str) -> FakeProcess:
    """Somebody writes what is there anew before each of its writes to that path, once it has spent."""
    process, writes = world.host().process(), 0

    def write_first(call: str, where: str) -> None:
        nonlocal writes
        if call != "write" or where != path or not process.endpoint.seen:
            return
        writes += 1
        assert writes < MAX_WRITES, "our writes to Vault come without a pause"
        if path == PROFILE.ticket.path:
            world.put_ticket(left=5)
        else:
            world.edit(edits=writes)

    process.store.before = write_first
    return process


def test_a_rotated_token_that_never_gets_in_is_kept_here(world: World) -> None:
    world.seed()
    one = contended(world, PROFILE.grant.path)
    assert one.refresh() == "ticket-1"
    assert len(world.host().waiting()) == 1


def test_a_claim_that_can_not_be_given_back_ends_by_itself(world: World) -> None:
    world.server.rotate = False
    world.seed()
    one = contended(world, PROFILE.grant.path)
    assert one.refresh() == "ticket-1"
    assert "claim" in world.notes()


def test_a_ticket_that_never_gets_published_is_handed_out(world: World) -> None:
    world.seed()
    one = contended(world, PROFILE.ticket.path)
    assert one.refresh() == "ticket-1"
    assert world.published() == "an-older-ticket"


def test_a_new_grant_that_never_gets_in_is_kept_here(world: World) -> None:
    world.seed()
    one = contended(world, PROFILE.grant.path)
    with pytest.raises(SaveFailed):
        one.store_token(world.server.issue())
    assert len(world.host().waiting()) == 1
