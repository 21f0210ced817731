"""Runs that nobody thought of: every seed must hold."""

import pytest

from tests.simulation.report import failures, run_seeds, table, unmet

# Of the quick run; and of the long one, which is given to two workers in pieces.
QUICK, LONG = 300, 20_000
PIECE, LONG_PIECE = 30, 10_000


@pytest.mark.parametrize("first", range(0, QUICK, PIECE))
def test_a_few(first: int) -> None:
    found = run_seeds(range(first, first + PIECE))
    assert not found.failed, failures(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, LONG, LONG_PIECE))
def test_many(first: int) -> None:
    """And no fault is without effect only because it never met an await point."""
    found = run_seeds(range(first, first + LONG_PIECE))
    print("\n".join(table(found)))
    assert not found.failed, failures(found)
    assert unmet(found) == []
