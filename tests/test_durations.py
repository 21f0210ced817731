"""Durations: what people write is read exactly, all else is refused with what is allowed."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_ticket_plugin.durations import ALLOWED, MAX_DURATION, parse_duration, show_duration

whole_seconds = st.integers(0, int(MAX_DURATION))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        (90.5, 90.5),
        (0, 0),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("20m", 1200),
        ("1h", 3600),
        ("2d", 172800),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 20m ", 1200),
        ("0s", 0),
    ],
)
def test_what_people_write_is_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@given(whole_seconds)
@example(0)
@example(59)
@example(86400)
def test_what_is_shown_of_whole_seconds_reads_back_exactly(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@given(st.floats(0, MAX_DURATION))
def test_a_number_is_seconds_as_a_number_and_as_a_text(seconds: float) -> None:
    assert parse_duration(seconds) == seconds
    assert parse_duration(f"{seconds:.9f}") == pytest.approx(seconds, abs=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["ms", "s", "m", "h", "d"])), min_size=1, max_size=6),
)
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    total = sum(number * units[unit] for number, unit in parts) / 1000
    assert parse_duration("".join(f"{number}{unit}" for number, unit in parts)) == pytest.approx(total)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", " ", "s", "m5", "5 m", "5m 3s", "-5m", "+5", "1e3", "5M", "5min", "1_000", "0x10", "nan", "inf"),
        *("٣", "٣s", "1h,5m", "1.h", ".5h", "5s\n6s", "\0", "9" * 5000, "9" * 400 + "d", "36601d"),
        *(-1, -0.001, math.nan, math.inf, -math.inf, 10**400, MAX_DURATION + 1, True, False, None),
        *(b"5s", [5], {"s": 5}, 5j, Decimal(5), Fraction(1, 2), object()),
    ],
    ids=lambda wrong: repr(wrong)[:20],
)
def test_anything_else_is_refused_with_what_is_allowed(wrong: object) -> None:
    with pytest.raises(ValueError, match=re.escape(ALLOWED)):
        parse_duration(wrong)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
nearly = st.text(st.sampled_from("0123456789.smhd -+e_"), max_size=12)


@given(anything | nearly)
def test_no_object_brings_anything_but_seconds_or_a_value_error(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        assert str(error).startswith(ALLOWED)  # noqa: PT017 - both ends are right
    else:
        assert isinstance(seconds, float)
        assert 0 <= seconds <= MAX_DURATION


@given(st.text())
def test_an_error_does_not_quote_what_was_given(text: str) -> None:
    """It may be a secret in the wrong place."""
    with pytest.raises(ValueError, match="number of seconds") as refused:
        parse_duration(f"hunter2-{text}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (-5, "0s"), (0.9, "0s"), (1, "1s"), (90, "1m30s"), (3600, "1h"), (90061, "1d1h1m1s")],
)
def test_shown_in_the_units_people_use(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
