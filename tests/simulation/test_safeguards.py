"""Without any one of its safeguards the protocol fails, and the simulator finds it."""

from collections.abc import Iterable

import pytest

from tests.simulation.safeguards import SAFEGUARDS
from tests.simulation.simulation import run_seed
from tests.simulation.test_seeds import QUICK

# Seeds that find it. The slow test looks through all.
FOUND_BY = {
    "CLAIM_CAS": (1, 2),
    "LOOK": (0, 1),
    "ABSENT": (5, 6),
    "FORGET": (14, 120),
    "PUBLISH_FIRST": (1, 4),
    "SAVE_FIRST": (0, 1),
    "JOURNAL": (0, 8),
    "REPLAY": (16, 19),
    "DEADLINE": (89, 173),
    "RESEED_WINS": (4, 5),
    "NEWER": (79, 250),
    "DOUBT": (0, 8),
    "CARRY": (56, 73),
    "OWN_CLAIM": (65, 89),
}


def is_found(name: str, seeds: Iterable[int]) -> bool:
    with SAFEGUARDS[name]():
        return any(run_seed(seed).violated for seed in seeds)


@pytest.mark.parametrize("name", SAFEGUARDS)
def test_its_absence_is_found(name: str) -> None:
    assert is_found(name, FOUND_BY[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SAFEGUARDS)
def test_its_absence_is_found_among_all_seeds(name: str) -> None:
    assert is_found(name, range(QUICK))
