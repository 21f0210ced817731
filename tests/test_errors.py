"""Every error has one fact, one hint and the exit code that design and docstring promise."""

import inspect
import json
import re

import pytest

from vault_ticket_plugin import errors
from vault_ticket_plugin.errors import Busy, VaultTicketError

CLASSES = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, VaultTicketError)
}
DRAWN = dict(re.findall(r"(\w+) +(\d\d) ", errors.__doc__ or ""))


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    assert {name: str(kind.exit_code) for name, kind in CLASSES.items()} == DRAWN


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_carries_its_message_and_its_hint_apart(name: str) -> None:
    error = CLASSES[name]("the fact", "what to do")
    assert (error.message, error.hint, str(error)) == ("the fact", "what to do", "the fact")
    assert CLASSES[name]("the fact").hint == ""


@pytest.mark.parametrize("name", CLASSES)
def test_no_exit_code_is_one_that_a_shell_or_click_uses_for_something_else(name: str) -> None:
    """0 is success, 1 and 2 are click's, from 126 on a shell speaks."""
    assert 64 <= CLASSES[name].exit_code <= 78


def test_an_endpoint_that_says_when_to_come_back_is_quoted() -> None:
    assert errors.EndpointUnavailable("busy", retry_after=7.0).retry_after == 7.0
    assert errors.SpendInDoubt("lost").retry_after is None


def test_rejections_carry_the_code_of_the_server() -> None:
    assert errors.GrantRejected("dead", code="invalid_grant").code == "invalid_grant"
    assert errors.ClientRejected("no", code="invalid_client").code == "invalid_client"


MALFORMED: dict[str, tuple[object, ...]] = {
    "title": (None, 7, ["Busy"]),
    "detail": (None, 7, ""),
    "exit_code": (None, 0, -1, True, "75", 75.0, 128, 256),
    "retry_after": ("soon", [], float("inf"), float("nan"), -1, 10**400),
    "code": (7, ["x"]),
}


class TestPlain:
    """Written and read back in one place: the cache, the daemon and its clients use nothing else."""

    @pytest.mark.parametrize("name", CLASSES)
    def test_every_error_comes_back_as_it_was(self, name: str) -> None:
        error = CLASSES[name]("the fact", "what to do", code="some_code", retry_after=7.0)
        again = VaultTicketError.from_plain(json.loads(json.dumps(error.to_plain())))
        assert type(again) is CLASSES[name]
        assert again.to_plain() == error.to_plain()
        assert (again.exit_code, again.needs_person) == (error.exit_code, error.needs_person)

    def test_what_is_not_there_is_not_written(self) -> None:
        assert set(Busy("the fact").to_plain()) == {"title", "detail", "hint", "exit_code"}

    def test_for_how_long_it_is_remembered_is_this_hosts_own_matter(self) -> None:
        error = Busy("the fact", "Try again.")
        error.remembered_for = 12.3
        assert error.hint == "Try again. (This is remembered for 13 s more; --force asks now.)"
        assert error.to_plain()["hint"] == "Try again."

    def test_a_class_of_a_later_version_keeps_its_exit_code(self) -> None:
        plain = {"title": "Unheard", "detail": "a fact", "hint": "a hint", "exit_code": 71}
        error = VaultTicketError.from_plain(plain)
        assert (type(error), error.exit_code, error.message, error.hint) == (VaultTicketError, 71, "a fact", "a hint")
        assert VaultTicketError("ours").exit_code == 70

    @pytest.mark.parametrize("name", MALFORMED)
    def test_what_is_no_error_of_ours_is_refused(self, name: str) -> None:
        for value in MALFORMED[name]:
            with pytest.raises(ValueError, match="no"):
                VaultTicketError.from_plain(Busy("the fact").to_plain() | {name: value})

    def test_what_others_wrote_is_fit_for_a_terminal(self) -> None:
        error = VaultTicketError.from_plain(Busy("a\x1b[31m\r\nb", "c" * 5000).to_plain())
        assert error.message == "a [31m  b"
        assert len(error.hint) == errors.MAX_QUOTE


def test_what_a_later_try_may_mend_is_503_over_http() -> None:
    later = {name for name, kind in CLASSES.items() if kind.http_status == 503}
    assert later == {name for name, kind in CLASSES.items() if kind.exit_code in (69, 75)}


def test_a_person_is_needed_for_what_time_does_not_mend() -> None:
    needed = {kind.exit_code for kind in CLASSES.values() if kind.needs_person}
    assert needed == {65, 66, 77, 78}
