"""What many runs met: how often each fault met each await point, as a table for people and for a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.simulation import faults
from tests.simulation.simulation import OFF, Report, run_seed, shrunk, told


class Sum(NamedTuple):
    """Of many runs."""

    runs: int
    steps: int
    met: Counter[tuple[str, str]]
    passed: Counter[str]
    failed: tuple[Report, ...]


def run_seeds(seeds: Iterable[int], off: frozenset[str] = OFF, most: int = 3) -> Sum:
    """Until `most` of them have failed."""
    runs = steps = 0
    met: Counter[tuple[str, str]] = Counter()
    passed: Counter[str] = Counter()
    failed: list[Report] = []
    for seed in seeds:
        report = run_seed(seed, off)
        runs, steps = runs + 1, steps + report.steps
        met += report.met
        passed += report.passed
        if report.violated:
            failed.append(shrunk(report, off))
            if len(failed) == most:
                break
    return Sum(runs, steps, met, passed, tuple(failed))


def failures(found: Sum) -> str:
    return "\n\n".join(told(report) for report in found.failed)


def unmet(found: Sum, off: frozenset[str] = OFF) -> list[tuple[str, str]]:
    """The faults that never met an await point where they can occur, and to which one run in a hundred came."""
    return [
        (kind, point)
        for point in sorted(found.passed)
        if found.passed[point] * 100 >= found.runs
        for kind in faults.KINDS
        if kind not in off and faults.can_meet(kind, point) and point != "act" and not found.met[kind, point]
    ]


def table(found: Sum) -> Iterator[str]:
    """A line for each await point: how often it was met, and each fault there."""
    yield f"{found.runs} runs, {found.steps} steps, {sum(found.met.values())} faults"
    kinds = [kind for kind in faults.KINDS if any(met == kind for met, _ in found.met)]
    yield " ".join([f"{'await point':32s}", f"{'met':>9s}", *(f"{kind:>8s}" for kind in kinds)])
    for point in sorted(found.passed):
        cells = [str(found.met[kind, point]) if faults.can_meet(kind, point) else "" for kind in kinds]
        yield " ".join([f"{point:32s}", f"{found.passed[point]:9d}", *(f"{cell:>8s}" for cell in cells)])
