"""Without any one of its safeguards the protocol fails, and the simulator finds it."""

from collections.abc import Iterable

import pytest

from tests.simulation.safeguards import SAFEGUARDS
from tests.simulation.simulation import run_seed
from tests.simulation.test_seeds import QUICK

# Seeds that find it. The slow test looks through all.
FOUND_BY = {
    "CLAIM_CAS": (0, 1),
    "LOOK": (1, 11),
    "ABSENT": (1, 28),
    "FORGET": (1, 14),
    "PUBLISH_FIRST": (0, 1),
    "SAVE_FIRST": (0, 1),
    "JOURNAL": (16, 23),
    "REPLAY": (3, 23),
    "DEADLINE": (22, 104),
    "RESEED_WINS": (0, 1),
    "NEWER": (34, 257),
    "DOUBT": (22, 37),
    "CARRY": (80, 109),
    "OWN_CLAIM": (22, 214),
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
