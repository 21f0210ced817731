"""The grant document: what is read out of it, what is written into it, and what is left alone."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import ALWAYS_NOTED
from vault_ticket_plugin.clock import from_rfc3339
from vault_ticket_plugin.errors import GrantMissing, StoredDataInvalid
from vault_ticket_plugin.model import (
    Claim,
    ClientIdentity,
    Document,
    Doubt,
    Grant,
    Location,
    Notes,
    Refresh,
    Rejection,
    Rotation,
)
from vault_ticket_plugin.refresh import grant_document
from vault_ticket_plugin.refresh.watch import MAX_SECONDS, seconds_of
from vault_ticket_plugin.secret import Secret

WHERE = Location("secret", "ticket/support/grant")
NOW = from_rfc3339("2027-01-15T08:00:00Z")
CLAIM = Claim("id-1", "web-1 (pid 7)", 15.0, "f" * 16, NOW)
DOUBT = Doubt("f" * 16, "web-1 (pid 7)", NOW)
REJECTION = Rejection("e" * 16, "invalid_grant", NOW, "web-2 (pid 8)")
REFRESH = Refresh(NOW, NOW + 3600, "web-1 (pid 7)", "d" * 16)
ROTATION = Rotation(Secret("a-1").fingerprint(), Secret("a-2").fingerprint(), NOW)


def read(data: Mapping[str, Any] | None, version: int = 3) -> Grant:
    return grant_document.parse(Document(data, version, created_at=NOW), WHERE, "support")


def test_what_a_person_wrote_by_hand_is_a_grant() -> None:
    grant = read({"refresh_token": " a-1\n", "client_id": "4711 "})
    assert grant.refresh_token == Secret("a-1")
    assert grant.client_id == "4711"
    assert grant.version == 3
    assert grant.notes == Notes()


def test_a_number_is_a_client_id_too() -> None:
    """As a JSON file has it, or `bao kv patch`. It stays a number in the document."""
    grant = read({"refresh_token": "a-1", "client_id": 4711})

    assert grant.client_id == "4711"
    assert grant_document.with_notes(grant, Notes()).document["client_id"] == 4711


def test_a_pause_is_cut_to_an_hour_from_when_it_was_written() -> None:
    """An absurd one must not stop every host for good; the next write heals the document."""
    grant = read({"refresh_token": "a-1", "vault_ticket": {"not_before": "2099-01-01T00:00:00Z"}})

    assert grant.notes.not_before == NOW + 3600
    healed = grant_document.with_notes(grant, grant.notes).document["vault_ticket"]
    assert healed["not_before"] == "2027-01-15T09:00:00Z"


def test_the_version_that_a_person_wrote_counts_as_seeded_then() -> None:
    assert read({"refresh_token": "a-1"}).seeded_at == NOW


def test_a_grant_that_was_never_stored_is_told_from_a_deleted_one() -> None:
    with pytest.raises(GrantMissing, match="no grant is stored at secret/ticket/support/grant") as never:
        read(None, version=0)
    assert "vault-ticket store support" in never.value.hint
    with pytest.raises(GrantMissing, match="has been deleted"):
        read(None, version=3)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"refresh_token": None},
        {"refresh_token": 7},
        {"refresh_token": ["a-1"]},
        {"refresh_token": ""},
        {"refresh_token": " \n"},
        {"refresh_token": "a\0b"},
        {"refresh_token": "a\nb"},
        {"refresh_token": "a-1", "client_id": 47.11},
        {"refresh_token": "a-1", "client_id": True},
        {"refresh_token": "a-1", "client_id": " "},
    ],
)
def test_what_can_not_be_a_grant_is_refused_without_quoting_it(data: dict[str, Any]) -> None:
    with pytest.raises(StoredDataInvalid) as caught:
        read(data)
    assert "a\nb" not in str(caught.value)
    assert "secret/ticket/support/grant" in str(caught.value)


def test_notes_are_read_as_they_were_written() -> None:
    written = grant_document.with_notes(
        read({"refresh_token": "a-1"}),
        Notes(claim=CLAIM, doubt=DOUBT, rejection=REJECTION, not_before=NOW + 60, refreshed=REFRESH),
    )
    again = read(written.document)
    assert again.notes == Notes(CLAIM, DOUBT, REJECTION, NOW + 60, REFRESH)
    assert again.seeded_at == NOW


@pytest.mark.parametrize("at", [None, "yesterday", 7])
def test_a_claim_that_does_not_say_when_it_was_made_is_a_claim(at: object) -> None:
    """As older versions wrote it, or a person's edit left it: what it forbids stands."""
    old = CLAIM._replace(at=None)
    document = dict(grant_document.with_notes(read({"refresh_token": "a-1"}), Notes(claim=old)).document)
    assert "at" not in document[grant_document.NOTES_KEY]["claim"]
    document[grant_document.NOTES_KEY]["claim"]["at"] = at
    assert read(document).notes.claim == old


def test_a_note_that_is_not_given_is_taken_out() -> None:
    noted = grant_document.with_notes(read({"refresh_token": "a-1"}), Notes(claim=CLAIM, doubt=DOUBT))
    assert set(grant_document.with_notes(noted, Notes(doubt=DOUBT)).document[grant_document.NOTES_KEY]) == {
        "in_doubt",
        *ALWAYS_NOTED,
    }


keys = st.text(min_size=1).filter(lambda key: key not in {"refresh_token", "client_id", grant_document.NOTES_KEY})
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(others=st.dictionaries(keys, values, max_size=4))
def test_keys_of_others_survive_every_rewrite(others: dict[str, Any]) -> None:
    grant = read({**others, "refresh_token": "a-1", "client_id": "4711"})
    claimed = grant_document.with_notes(grant, Notes(claim=CLAIM))
    rotated = grant_document.with_token(claimed, Secret("a-2"), ROTATION)
    freed = grant_document.with_notes(rotated, Notes(refreshed=REFRESH))
    found = {key: value for key, value in freed.document.items() if key != grant_document.NOTES_KEY}
    assert found == {**others, "refresh_token": "a-2", "client_id": "4711"}


@given(notes=values | st.fixed_dictionaries({"in_doubt": values, "not_before": values}))
def test_notes_that_make_no_sense_count_as_not_there(notes: Any) -> None:
    """A person may have edited them; the refresh token is good all the same."""
    grant = read({"refresh_token": "a-1", grant_document.NOTES_KEY: notes})
    assert grant.refresh_token == Secret("a-1")
    assert grant.notes.doubt is None


@given(claim=values.filter(lambda value: value is not None))
def test_a_claim_counts_however_odd_it_is(claim: Any) -> None:
    """Somebody may be spending."""
    found = read({"refresh_token": "a-1", grant_document.NOTES_KEY: {"claim": claim}}).notes.claim
    assert found is not None
    assert seconds_of(found) == MAX_SECONDS


@pytest.mark.parametrize(
    ("said", "believed"), [(15, 15.0), (0.1, 5.0), (1e9, 300.0), ("15", 300.0), (True, 300.0), (float("nan"), 300.0)]
)
def test_a_claims_length_is_believed_within_bounds(said: Any, believed: float) -> None:
    claim = {"id": "i", "holder": "h", "fingerprint": "f", "seconds": said}
    found = read({"refresh_token": "a-1", grant_document.NOTES_KEY: {"claim": claim}}).notes.claim
    assert found is not None
    assert seconds_of(found) == believed


def test_a_rotated_token_takes_what_was_noted_of_the_old_one_with_it() -> None:
    noted = grant_document.with_notes(
        read({"refresh_token": "a-1"}),
        Notes(claim=CLAIM, doubt=DOUBT, rejection=REJECTION, not_before=NOW, refreshed=REFRESH),
    )
    rotated = grant_document.with_token(noted, Secret("a-2"), ROTATION)
    assert rotated.document["refresh_token"] == "a-2"
    assert set(rotated.document[grant_document.NOTES_KEY]) == {"claim", "refreshed", "rotated", *ALWAYS_NOTED}
    assert rotated.notes == Notes(claim=CLAIM, refreshed=REFRESH)


def test_a_seed_has_nothing_of_what_was_there() -> None:
    assert grant_document.new_document(Secret("a-1"), None, NOW, 4) == {
        "refresh_token": "a-1",
        grant_document.NOTES_KEY: {
            "format": 2,
            "seeded_at": "2027-01-15T08:00:00Z",
            "seeded_version": 5,
            "token": Secret("a-1").fingerprint(),
        },
    }
    assert grant_document.new_document(Secret("a-1"), ClientIdentity("4711"), NOW, 4)["client_id"] == "4711"


def test_a_grant_shows_no_token() -> None:
    grant = grant_document.with_notes(read({"refresh_token": "a-1"}), Notes(claim=CLAIM))
    assert "a-1" not in repr(grant)
