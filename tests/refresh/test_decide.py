"""Who may overwrite what: each row of the table in `decide`."""

from typing import Any

import pytest

from tests.fakes import START
from tests.world import ADDRESS, PROFILE
from vault_ticket_plugin.model import ClientIdentity, Document, Grant, Rotation
from vault_ticket_plugin.refresh import grant_document
from vault_ticket_plugin.refresh.decide import Ruling, decide
from vault_ticket_plugin.refresh.journal_entry import Entry
from vault_ticket_plugin.secret import Secret

ROTATION = Entry(
    kind="rotation",
    profile="support",
    grant=ADDRESS.key,
    where=PROFILE.grant,
    spent=Secret("a-1").fingerprint(),
    refresh_token=Secret("a-2"),
    client=None,
    at=START,
    version=4,
    document=ADDRESS.document,
)
SEED = ROTATION._replace(kind="seed", client=ClientIdentity("4711"))


def grant(token: str, version: int = 4, at: float = START - 100, **more: Any) -> Grant:
    return grant_document.parse(Document({"refresh_token": token, **more}, version, at), PROFILE.grant, "support")


def put(token: str, version: int, at: float) -> Grant:
    """As a person puts it: nothing of ours is in it."""
    return grant(token, version, at)


def noted(one: Grant, version: int) -> Grant:
    """Our notes in it changed, as with each claim and release."""
    return grant_document.parse(
        Document(grant_document.with_notes(one, one.notes).document, version, START + 1), PROFILE.grant, "support"
    )


def rotated(one: Grant, token: str, at: float, version: int) -> Grant:
    """A machine's rotation of what is in it."""
    new = grant_document.with_token(
        one, Secret(token), Rotation(one.refresh_token.fingerprint(), Secret(token).fingerprint(), at)
    )
    return grant_document.parse(Document(new.document, version, at), PROFILE.grant, "support")


def patched(one: Grant, token: str, version: int, at: float) -> Grant:
    """A person's `kv patch refresh_token=…`: our notes stay in, about another token."""
    return grant_document.parse(
        Document({**one.document, "refresh_token": token}, version, at), PROFILE.grant, "support"
    )


BOTH = pytest.mark.parametrize("entry", [ROTATION, SEED], ids=["rotation", "seed"])


def test_a_rotation_waits_where_the_document_is_gone_and_a_seed_is_saved() -> None:
    assert decide(None, ROTATION) is Ruling.LEAVE
    assert decide(None, SEED) is Ruling.SAVE


@BOTH
def test_what_is_there_already_is_done(entry: Entry) -> None:
    assert decide(grant("a-2"), entry) is Ruling.DONE


@BOTH
def test_the_spent_token_is_replaced_whoever_put_it_there_and_whenever(entry: Entry) -> None:
    assert decide(put("a-1", 9, START + 60), entry) is Ruling.SAVE


@BOTH
@pytest.mark.parametrize(
    ("at", "ruling"), [(-60.0, Ruling.SAVE), (0.0, Ruling.DROP), (60.0, Ruling.DROP)], ids=["earlier", "same", "later"]
)
def test_of_two_rotated_from_one_the_later_answers_stands(entry: Entry, at: float, ruling: Ruling) -> None:
    """Inside a server's grace each use of a token may bring another one."""
    assert decide(rotated(grant("a-1"), "a-3", START + at, 6), entry) is ruling


def test_a_note_about_an_earlier_rotation_says_nothing_of_a_persons_token() -> None:
    earlier = rotated(grant("a-1"), "a-3", START - 60, 6)
    assert decide(patched(earlier, "b-1", 7, START + 60), ROTATION) is Ruling.DROP


@pytest.mark.parametrize("token", ["b-1", "a-9"])
def test_any_other_token_stands_against_a_rotation(token: str) -> None:
    assert decide(grant(token), ROTATION) is Ruling.DROP


class TestSeed:
    def test_it_replaces_what_store_found(self) -> None:
        assert decide(put("x-1", 4, START - 100), SEED) is Ruling.SAVE

    def test_it_replaces_it_with_our_notes_changed_since(self) -> None:
        assert decide(noted(noted(put("x-1", 4, START - 100), 5), 6), SEED) is Ruling.SAVE

    def test_it_replaces_it_though_a_machine_has_rotated_it_since(self) -> None:
        once = rotated(put("x-1", 4, START - 100), "x-2", START + 5, 6)
        assert decide(rotated(once, "x-3", START + 50, 8), SEED) is Ruling.SAVE

    def test_what_a_person_put_since_stands(self) -> None:
        assert decide(put("b-1", 5, START + 60), SEED) is Ruling.DROP

    def test_what_a_person_put_while_store_was_at_it_stands(self) -> None:
        """The same moment by the clock, another version."""
        assert decide(put("b-1", 5, START), SEED) is Ruling.DROP

    def test_what_a_person_patched_in_since_stands(self) -> None:
        """The edit has left the notes in: they say that the token which they are about was there long before."""
        before = noted(put("x-1", 3, START - 100), 4)
        assert decide(patched(before, "b-1", 5, START + 60), SEED) is Ruling.DROP

    def test_what_a_machine_made_of_a_persons_token_stands(self) -> None:
        before = noted(put("x-1", 3, START - 100), 4)
        theirs = patched(before, "b-1", 5, START + 60)
        assert decide(rotated(noted(theirs, 6), "b-2", START + 70, 7), SEED) is Ruling.DROP

    def test_what_a_later_store_put_stands(self) -> None:
        later = grant_document.new_document(Secret("b-1"), None, START + 60, 4)
        assert decide(grant_document.parse(Document(later, 5, START + 60), PROFILE.grant, "s"), SEED) is Ruling.DROP

    def test_versions_that_began_anew_are_told_by_the_time(self) -> None:
        """Somebody has deleted the document with all its versions since, and stored another token."""
        assert decide(put("b-1", 1, START + 60), SEED) is Ruling.DROP

    def test_notes_of_an_older_program_go_by_the_time_alone(self) -> None:
        old = {"seeded_at": "2020-01-01T00:00:00Z"}
        assert decide(grant("x-2", 9, START + 60, vault_ticket=old), SEED) is Ruling.SAVE
        new = {"seeded_at": "2030-01-01T00:00:00Z"}
        assert decide(grant("b-1", 9, START + 60, vault_ticket=new), SEED) is Ruling.DROP
