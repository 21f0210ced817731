"""Every error has one fact, one hint and the exit code that design and docstring promise."""

import inspect
import re

import pytest

from vault_ticket_plugin import errors
from vault_ticket_plugin.errors import VaultTicketError

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
