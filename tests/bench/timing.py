"""Whole processes, timed from before they are made until they are reaped, in turns."""

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Runs its arguments and prints their peak resident set in KiB. A process's peak counts from before its exec, when it
# still was its parent: so the parent must be as small as can be. `-I -S` and one import are.
PEAK = (
    "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); "
    "end = os.wait4(pid, 0); print(end[2].ru_maxrss, file=sys.stderr); sys.exit(end[1] != 0)"
)


class BenchError(Exception):
    """A command did not do what it is measured for."""


def _nothing() -> None:
    """Most commands need no preparation."""


@dataclass(frozen=True, slots=True)
class Command:
    """`says`: what its output must contain. `before`: done before each run, and not timed."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    says: str = field(default="", repr=False)
    before: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of each run."""

    each: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    @property
    def least(self) -> float:
        return min(self.each)

    @property
    def most(self) -> float:
        return max(self.each)


class Stopwatch:
    """Runs commands with their output in files of a folder of its own: no pipe, no reader's thread."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-out-")
        self._out = Path(self._folder.name, "out")
        self._err = Path(self._folder.name, "err")

    def close(self) -> None:
        self._folder.cleanup()

    def check(self, command: Command) -> None:
        """One run, and that it does what it should."""
        self.once(command)
        if command.says not in self._out.read_text():
            raise BenchError(f"{command.name}: its output is not the one it is measured for")

    def once(self, command: Command) -> float:
        """Milliseconds."""
        command.before()
        started = time.perf_counter()
        pid = self.start(command)
        _, status = os.waitpid(pid, 0)
        spent = time.perf_counter() - started
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise BenchError(f"{command.name}: exit code {code}\n{self._err.read_text()[-1000:]}")
        return spent * 1000

    def start(self, command: Command, out: Path | None = None) -> int:
        """The process's id; somebody waits for it."""
        new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(out or self._out), new, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, str(self._err), new, 0o600),
        ]
        return os.posix_spawn(command.argv[0], command.argv, command.env, file_actions=streams)

    def interleaved(self, commands: list[Command], runs: int) -> dict[str, Times]:
        """All of them once a round, each round in another order, so that what else the machine does meets all."""
        for command in commands:
            self.check(command)
        order, turns = list(commands), random.Random(1)  # the same order in every bench
        seen: dict[str, list[float]] = {command.name: [] for command in commands}
        for _ in range(runs):
            turns.shuffle(order)
            for command in order:
                seen[command.name].append(self.once(command))
        return {name: Times(tuple(each)) for name, each in seen.items()}

    def peak(self, command: Command, python: str) -> float:
        """Peak resident set in MiB."""
        command.before()
        argv = [python, "-I", "-S", "-c", PEAK, *command.argv]
        done = subprocess.run(argv, env=command.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{command.name}: failed while its memory was measured\n{done.stderr[-1000:]}")
        return int(done.stderr.split()[-1]) / 1024

    def herd(self, command: Command, count: int) -> tuple[float, set[str]]:
        """Milliseconds until the last of `count` at once has ended, and what they said."""
        outs = [Path(self._folder.name, f"out-{number}") for number in range(count)]
        command.before()
        started = time.perf_counter()
        pids = [self.start(command, out) for out in outs]
        codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
        spent = time.perf_counter() - started
        if codes != {0}:
            raise BenchError(f"{command.name}: exit codes {sorted(codes)}\n{self._err.read_text()[-1000:]}")
        return spent * 1000, {out.read_text() for out in outs}
