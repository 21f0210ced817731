"""What a grant document already tells about a spend, and how it is said."""

import pytest

from tests.fakes import CLIENT
from vault_ticket_plugin.clock import Moment
from vault_ticket_plugin.errors import ClientRejected, EndpointUnavailable, GrantRejected, SpendInDoubt
from vault_ticket_plugin.model import Claim, Doubt, Grant, Notes
from vault_ticket_plugin.refresh import notes, retry
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

NOW = 1_800_000_000.0
PROFILE = Profile.standard("support")._replace(client_id=CLIENT)
TOKEN = Secret("a-1")
GRANT = Grant(TOKEN, None, 1, {"refresh_token": "a-1"})
WEB_1 = "web-1 (pid 7)"


def claimed(at: float | None = NOW - 41, fingerprint: str = TOKEN.fingerprint()) -> Grant:
    return GRANT._replace(notes=Notes(claim=Claim("id", WEB_1, 15.0, fingerprint, at)))


def doubted(age: float, fingerprint: str = TOKEN.fingerprint()) -> Grant:
    return GRANT._replace(notes=Notes(doubt=Doubt(fingerprint, WEB_1, NOW - age)))


def known(grant: Grant, patient: bool = True) -> Exception | None:
    try:
        notes.raise_known_failure(grant, PROFILE, Moment(NOW, NOW), patient)
    except Exception as error:  # noqa: BLE001 - which one is what the test asks
        return error
    return None


def test_a_grant_without_notes_is_spent_without_doubt() -> None:
    assert notes.unresolved_spend(GRANT) is None
    assert known(GRANT, patient=False) is None


def test_a_claim_that_is_over_leaves_its_token_in_doubt_since_it_was_made() -> None:
    assert notes.unresolved_spend(claimed()) == Doubt(TOKEN.fingerprint(), WEB_1, NOW - 41)


def test_a_claim_that_does_not_say_when_was_made_with_its_version() -> None:
    found = notes.unresolved_spend(claimed(at=None)._replace(created_at=NOW - 50))
    assert found == Doubt(TOKEN.fingerprint(), WEB_1, NOW - 50)


def test_a_claim_alone_is_no_doubt() -> None:
    """Whether it is over is not for the document to tell."""
    assert notes.known_doubt(claimed()) is None


def test_a_doubt_about_another_token_is_no_doubt_about_this_one() -> None:
    """The dead holder had already saved what it got; only publishing and releasing is missing."""
    assert notes.unresolved_spend(claimed(fingerprint="another")) is None
    assert notes.unresolved_spend(doubted(5, "another")) is None


def test_a_noted_doubt_stays_with_whom_it_names() -> None:
    """A second holder that dies too does not hide who was first."""
    noted = doubted(100)
    claim = Claim("id", "web-2", 15.0, TOKEN.fingerprint())
    grant = noted._replace(notes=noted.notes._replace(claim=claim))
    found = notes.unresolved_spend(grant)
    assert found is not None
    assert found.holder == WEB_1


@pytest.mark.parametrize(
    ("age", "patient", "refused"),
    [(PROFILE.reuse_grace, False, True), (PROFILE.reuse_grace - 1, False, False), (1e6, True, False)],
)
def test_a_token_in_doubt_is_left_alone_past_the_grace_while_a_ticket_is_at_hand(
    age: float, patient: bool, refused: bool
) -> None:
    error = known(doubted(age), patient)
    assert isinstance(error, SpendInDoubt) is refused
    if refused:
        assert WEB_1 in str(error)


def test_a_latched_token_is_not_asked_about_again() -> None:
    grant = GRANT._replace(notes=Notes(rejection=notes.rejection_of(GRANT, PROFILE, "invalid_grant", NOW, "web-2")))
    error = known(grant)
    assert isinstance(error, GrantRejected)
    assert "web-2" in str(error)
    assert "vault-ticket store support" in error.hint


@pytest.mark.parametrize(
    ("grant", "profile"),
    [
        (GRANT._replace(refresh_token=Secret("b-1")), PROFILE),
        (GRANT, PROFILE._replace(client_id="corrected")),
        (GRANT, PROFILE._replace(token_url="https://corrected.test/token")),
        (GRANT._replace(client_id="corrected"), PROFILE._replace(client_id=None)),
    ],
    ids=["token", "client", "url", "client in the grant"],
)
def test_the_latch_holds_for_that_token_client_and_url_only(grant: Grant, profile: Profile) -> None:
    rejection = notes.rejection_of(GRANT, PROFILE, "invalid_client", NOW, "web-2")
    notes.raise_known_failure(grant._replace(notes=Notes(rejection=rejection)), profile, Moment(NOW, NOW), patient=True)


def test_the_latch_says_no_to_the_client_as_such() -> None:
    grant = GRANT._replace(notes=Notes(rejection=notes.rejection_of(GRANT, PROFILE, "invalid_client", NOW, "web-2")))
    error = known(grant)
    assert isinstance(error, ClientRejected)
    assert error.exit_code == 78
    assert "invalid_client" in str(error)


def test_a_pause_that_the_server_asked_for_is_kept_until_it_is_over() -> None:
    error = known(GRANT._replace(notes=Notes(not_before=NOW + 40)))
    assert isinstance(error, EndpointUnavailable)
    assert not isinstance(error, SpendInDoubt)
    assert error.retry_after == 40
    assert known(GRANT._replace(notes=Notes(not_before=NOW))) is None


@pytest.mark.parametrize(("asked", "kept"), [(30.0, 30.0), (1e9, retry.MAX_RETRY_AFTER), (None, None)])
def test_no_server_can_ask_for_more_than_an_hour(asked: float | None, kept: float | None) -> None:
    found = notes.retry_not_before(EndpointUnavailable("busy", retry_after=asked), NOW)
    assert found == (None if kept is None else NOW + kept)


def test_a_dead_token_that_was_in_doubt_names_the_host_to_look_at() -> None:
    error = notes.rejected("invalid_grant", Doubt("f", WEB_1, NOW), PROFILE)
    assert isinstance(error, GrantRejected)
    assert error.exit_code == 77
    assert f"{WEB_1} spent it, or the one before it, at 2027-01-15T08:00:00Z and its answer was lost" in str(error)
    assert "journal" in error.hint


def test_a_dead_token_without_doubt_blames_nobody() -> None:
    error = notes.rejected("invalid_grant", None, PROFILE)
    assert str(error) == "the token endpoint says that the refresh token is not valid"
