"""The rows: what is compared with what, and which bar it has to meet."""

import os
import statistics
import sys
from dataclasses import dataclass

from tests.bench.environment import LIFETIME, SHORT_LIFETIME, Ground, settle, tools_missing
from tests.bench.timing import BenchError, Command, Stopwatch, Times

# What a cold get imports, step by step, and what else could stand at the end of it.
OURS = "vault_ticket_plugin.cli.get"
PROFILE = (("click",), (OURS,), (OURS, "http.client"), (OURS, "urllib3"), (OURS, "requests"), ("requests",), ("hvac",))

HERD = 60
HERDS = 5
PEAKS = 5
# How often the counted transactions are repeated; all of them must cost the same.
COUNTS = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `value` and `peer_value`: medians, in `unit`.

    `ratio` compares medians and `ratio_least` minima; the bar is on `ratio`, or on `value` where there is no peer.
    """

    what: str
    peer: str = ""
    unit: str = "ms"
    times: Times | None = None
    peer_times: Times | None = None
    value: float | None = None
    peer_value: float | None = None
    bar: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer_value if self.value is not None and self.peer_value else None

    @property
    def ratio_least(self) -> float | None:
        return self.times.least / self.peer_times.least if self.times and self.peer_times else None

    @property
    def met(self) -> bool | None:
        found = self.ratio if self.peer else self.value
        return None if self.bar is None or found is None else found <= self.bar


@dataclass(frozen=True, slots=True)
class Results:
    """`profile`: bare interpreters that import something and end."""

    rows: list[Row]
    times: dict[str, Times]
    profile: dict[str, Times]


def measure(ground: Ground, watch: Stopwatch, runs: int) -> Results:
    for profile in ("warm", "forced", "scripted", "kept", "herd"):
        ground.store(profile)
    missing: dict[str, str] = {}
    commands = [
        ground.bare(),
        ground.bare("-I"),
        ground.get("warm get", "warm"),
        ground.get("warm get through click", "warm", "--min-ttl", "1"),
        ground.get("warm get, no token in the environment", "warm", host=ground.approle),
        ground.get("cold get", "warm", host=ground.host, cold=True),
        ground.get("cold get with a login", "warm", host=ground.approle, cold=True),
        ground.get("refresh", "forced", "--force"),
        ground.hvac(),
        ground.bao_get(),
    ]
    if tools_missing():
        missing |= dict.fromkeys(("curl and jq", "shell refresh"), f"not here: {' and '.join(tools_missing())}")
    else:
        commands += [ground.curl(), ground.shell_refresh()]
    try:
        say("installing htgettoken (its gssapi is built from source) …")
        commands.append(ground.htgettoken())
    except BenchError as error:
        missing["htgettoken"] = str(error)
    # A cold get empties the cache that the warm ones read: each of them refills it first, untimed.
    commands = [_warmed(one, watch) if one.name.startswith("warm") else one for one in commands]
    steps = [ground.bare(), *(ground.importing(*modules) for modules in PROFILE)]
    commands += steps[1:]
    settle()
    say(f"{len(commands)} commands, {runs} runs each, in turns …")
    times = watch.interleaved(commands, runs)
    rows = _timed_rows(times, missing)
    say(f"{HERD} processes at once …")
    rows += _herds(ground, watch, commands[2], times["warm get"])
    say("requests and memory …")
    rows += _requests(ground)
    rows.append(_memory(ground, watch, commands[2]))
    return Results(rows, times, {one.name: times[one.name] for one in steps})


def _warmed(command: Command, watch: Stopwatch) -> Command:
    return Command(command.name, command.argv, command.env, command.says, lambda: _fill(command, watch))


def _fill(warm: Command, watch: Stopwatch) -> None:
    watch.once(Command("filling the cache", warm.argv, warm.env))


def _timed_rows(times: dict[str, Times], missing: dict[str, str]) -> list[Row]:
    def row(what: str, peer: str, bar: float | None = None) -> Row:
        if peer in missing:
            return Row(what, peer, times=times[what], value=times[what].median, bar=bar, note=missing[peer])
        ours, theirs = times[what], times[peer]
        return Row(what, peer, "ms", ours, theirs, ours.median, theirs.median, bar)

    bare = "python -c pass"
    return [
        row("warm get", bare, 1.5),
        row("warm get", "bao kv get", 0.3),
        row("warm get", "htgettoken", 0.1),
        row("warm get, no token in the environment", bare, 1.5),
        row("warm get through click", bare),
        row("cold get", "hvac script", 1.0),
        row("cold get", "bao kv get"),
        row("cold get", "curl and jq"),
        row("cold get with a login", "hvac script"),
        row("refresh", "shell refresh", 0.6),
    ]


def _herds(ground: Ground, watch: Stopwatch, warm: Command, one: Times) -> list[Row]:
    cores = os.cpu_count() or 1
    _fill(warm, watch)
    slowest = Times(tuple(watch.herd(warm, HERD)[0] for _ in range(HERDS)))
    share = Row(
        what=f"{HERD} warm gets at once, the last one's end",
        peer=f"{HERD} warm gets one by one, over {cores} cores",
        times=slowest,
        value=slowest.median,
        peer_value=one.median * HERD / cores,
    )
    ground.let_expire("herd")
    before = ground.api.stats().requests
    spent, said = watch.herd(Command("a get at an expired ticket", _of(warm, "herd"), ground.host.env()), HERD)
    calls = ground.api.stats().requests - before
    if len(said) != 1:
        raise BenchError(f"{HERD} processes at an expired ticket printed {len(said)} different ones ({calls} calls)")
    asked = Row(
        what=f"{HERD} gets at once at an expired ticket: calls of the Ticket API",
        unit="calls",
        value=calls,
        bar=1,
        note=f"the last one ended after {spent:.0f} ms",
    )
    return [share, asked]


def _of(command: Command, profile: str) -> tuple[str, ...]:
    return tuple(profile if one == "warm" else one for one in command.argv)


def _requests(ground: Ground) -> list[Row]:
    def counted(what: str, bar: float, command: Command, expired: bool = False) -> Row:
        seen = []
        for _ in range(COUNTS):
            if expired:
                ground.let_expire("kept")
            seen.append(ground.requests_of(command))
        note = "" if len(set(seen)) == 1 else f"seen: {', '.join(map(str, seen))}"
        return Row(f"requests to Vault: {what}", unit="requests", value=max(seen), bar=bar, note=note)

    early = ground.get("", "forced", "--force")
    late = Command("", _of(ground.get("", "warm"), "kept"), ground.host.env())
    rows = [
        counted("cold get", 1, ground.get("", "warm", cold=True)),
        counted("cold get with a login", 2, ground.get("", "warm", host=ground.approle, cold=True)),
    ]
    for rotate, bar, said in ((False, 6, ""), (True, 7, ", rotated")):
        ground.api.behaviour.rotate = rotate
        rows.append(counted(f"refresh of a usable ticket{said}", bar, early))
        # A steady state: the ticket before lived as long as this one.
        ground.api.behaviour.lifetime = SHORT_LIFETIME
        rows.append(counted(f"refresh of an expired ticket{said}", bar, late, expired=True))
        ground.api.behaviour.lifetime = LIFETIME
    return rows


def _memory(ground: Ground, watch: Stopwatch, warm: Command) -> Row:
    bare = ground.bare()
    _fill(warm, watch)
    ours, theirs = (
        statistics.median(watch.peak(command, ground.python) for _ in range(PEAKS)) for command in (warm, bare)
    )
    return Row("peak memory of a warm get", bare.name, "MiB", value=ours, peer_value=theirs)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
