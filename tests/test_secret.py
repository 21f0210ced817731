"""A Secret never prints, formats, pickles or joins."""

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from operator import mod
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_ticket_plugin.secret import Secret

MARK = "m4rk3d-secret-text"
marked = st.tuples(st.text(max_size=20), st.text(max_size=20)).map(lambda ends: MARK.join(ends))


@dataclass(frozen=True)
class Holder:
    name: str
    token: Secret


def shown_by_raising(secret: Secret) -> str:
    try:
        raise RuntimeError("failed", secret)
    except RuntimeError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def shown_by_logging(secret: Secret) -> str:
    stream = io.StringIO()
    record = logging.LogRecord("a", logging.WARNING, "a", 1, "%s %r %20s %s", (secret, secret, secret, [secret]), None)
    logging.StreamHandler(stream).emit(record)
    return stream.getvalue()


WAYS: dict[str, Callable[[Secret], object]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "f-string": lambda secret: f"{secret} {secret!s} {secret!r} {secret!a} {secret:>40} {secret:.3} {secret=}",
    "%s and %r": lambda secret: mod("%s %r %a %30s %.2s", (secret,) * 5),
    "str.format": lambda secret: str.format("{0} {0!r:<30} {one}", secret, one=secret),
    "%d": lambda secret: mod("%d", secret),
    "%c": lambda secret: mod("%c", secret),
    "format with a number's spec": lambda secret: format(secret, "08.3f"),
    "str.join": lambda secret: "".join(["a", secret]),  # type: ignore[list-item]
    "concatenation": lambda secret: "a" + secret,  # type: ignore[operator]
    "concatenation from the left": lambda secret: secret + "a",  # type: ignore[operator]
    "repetition": lambda secret: secret * 2,  # type: ignore[operator]
    "bytes": lambda secret: bytes(secret),  # type: ignore[call-overload]
    "iteration": lambda secret: list(secret),  # type: ignore[call-overload]
    "indexing": lambda secret: secret[0],  # type: ignore[index]
    "json": json.dumps,
    "json with default=str": lambda secret: json.dumps({"token": secret}, default=str),
    "json with default=vars": lambda secret: json.dumps({"token": secret}, default=vars),
    "vars": vars,
    "pprint": pprint.pformat,
    "in containers": lambda secret: f"{[secret]} {(secret,)} {{'a': {secret}}} { {'k': secret} }",
    "a dataclass": lambda secret: repr(Holder("a", secret)),
    "asdict": lambda secret: repr(asdict(Holder("a", secret))),
    "replace": lambda secret: repr(replace(Holder("a", secret), name="b")),
    "an exception": lambda secret: str(ValueError(secret)) + repr(ValueError(secret)),
    "a traceback with its locals": shown_by_raising,
    "logging": shown_by_logging,
    "pickle": pickle.dumps,
    "pickle protocol 0": lambda secret: pickle.dumps(secret, 0),
    "pickle in a dataclass": lambda secret: pickle.dumps(Holder("a", secret)),
    "copy": lambda secret: repr(copy.copy(secret)),
    "deepcopy": lambda secret: repr(copy.deepcopy([secret])),
    "its attributes": lambda secret: repr(dir(secret)),
    "the fingerprint": lambda secret: secret.fingerprint(),
}


@pytest.mark.parametrize("way", WAYS)
@given(text=marked)
@example(text=MARK)
@example(text=f"\ud800{MARK}\0")
def test_no_way_of_showing_a_secret_shows_its_text(way: str, text: str) -> None:
    """What is made of it, or the error that refuses to, does not have the text in it."""
    try:
        shown: object = WAYS[way](Secret(text))
    except (TypeError, ValueError) as refused:
        shown = "".join(traceback.format_exception_only(refused))
    assert MARK not in (shown.decode("latin-1") if isinstance(shown, bytes) else str(shown))


@given(text=st.text())
def test_reveal_gives_the_text_back(text: str) -> None:
    secret = Secret(text)
    assert secret.reveal() == text
    assert bool(secret) is bool(text)
    assert copy.copy(secret).reveal() == copy.deepcopy(secret).reveal() == text


@given(one=st.text(), other=st.text())
@example(one="same", other="same")
@example(one="\ud800", other="\ud800")
def test_equal_texts_are_equal_secrets_and_no_others(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)


@pytest.mark.parametrize("other", [MARK, MARK.encode(), None, 0, object()])
def test_a_secret_equals_nothing_that_is_no_secret(other: object) -> None:
    assert Secret(MARK) != other


def test_a_secret_is_no_key_of_a_dictionary() -> None:
    """A hash made of the text would tell two of them apart faster than a comparison in constant time."""
    with pytest.raises(TypeError):
        hash(Secret(MARK))


def test_a_secret_does_not_change() -> None:
    secret = Secret(MARK)
    with pytest.raises(AttributeError):
        secret._value = "another"
    with pytest.raises(AttributeError):
        secret.more = 1
    assert secret.reveal() == MARK


@given(text=st.text(), contexts=st.lists(st.text(), max_size=3))
def test_a_fingerprint_is_16_hexadecimal_digits_that_depend_on_the_text_and_the_context(
    text: str, contexts: list[str]
) -> None:
    made = Secret(text).fingerprint(*contexts)
    assert len(made) == 16
    assert set(made) <= set("0123456789abcdef")
    assert made == Secret(text).fingerprint(*contexts)
    assert made != Secret(text + "x").fingerprint(*contexts)
    assert made != Secret(text).fingerprint(*contexts, "another client")


def test_a_secret_in_a_failing_comparison_of_pytest_is_not_shown() -> None:
    """What a test's assertion prints on failure is made with repr."""
    from _pytest._io.saferepr import saferepr

    shown: Any = saferepr(Secret(MARK))
    assert shown == "<secret>"
