"""`python -m tests.bench.load`: what a daemon hands out in a second, and what keeping many tickets fresh costs."""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.report import machine, replace_part
from tests.daemon.daemons import Daemon, socket_of
from tests.support.bao import DevServer
from tests.support.cli import Host, toml
from tests.support.emulator import Emulator
from tests.support.process import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
CLIENT = "client-1"
START, END = "<!-- load -->\n", "<!-- end of load -->\n"
# Of each round; the rounds are taken in turns, so that what else the machine does meets both.
WRK_SECONDS, ROUNDS = 5, 3
CONNECTIONS = (8, 64)


@dataclass(frozen=True, slots=True)
class Line:
    """`bar` is met where `value` is at most (or with `at_least` at least) it; None is a report."""

    what: str
    value: float | None
    unit: str = ""
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.bar is None or self.value is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def cells(self) -> tuple[str, ...]:
        value = "not measured" if self.value is None else f"{self.value:,.2f}".rstrip("0").rstrip(".")
        bar = "report" if self.bar is None else f"{'≥' if self.at_least else '≤'} {self.bar:g}"
        return self.what, f"{value} {self.unit}".strip(), bar, {True: "yes", False: "no", None: ""}[self.met], self.note


HEADINGS = ("what", "measured", "bar", "met", "note")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/load", description=__doc__)
    parser.add_argument("--profiles", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0, help="that they are kept fresh (default 5)")
    parser.add_argument("--lifetime", type=int, default=60, help="of their tickets, in seconds (default 60)")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--markdown", action="store_true", help="renew the table in docs/performance.md")
    given = parser.parse_args()
    lines = [*hand_outs(), *kept_fresh(given.profiles, given.minutes * 60, given.lifetime)]
    for line in lines:
        print("  ".join(line.cells))
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(one) for one in lines]}, indent=2))
    if given.markdown:
        replace_part(ROOT / "docs/performance.md", START, END, as_markdown(lines))
    sys.exit(any(line.met is False for line in lines))


def as_markdown(lines: list[Line]) -> str:
    where = machine()
    table = [HEADINGS, *(line.cells for line in lines)]
    rows = [f"| {' | '.join(cells)} |" for cells in table]
    head = (
        f"Measured with `scripts/load` on {where['cpu']}, {where['cores']} cores, {where['kernel']}, {where['python']}."
    )
    return "\n".join([head, "", rows[0], "|---|--:|--:|---|---|", *rows[1:]]) + "\n"


# -- a place with many profiles


class Place:
    """One server, one token endpoint, and hosts that run a daemon for the same profiles."""

    def __init__(self, stack: ExitStack, *, profiles: int, lifetime: int, audit: bool) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        self.bao = stack.enter_context(DevServer(self.folder / "bao", audit=audit))
        self.api = stack.enter_context(Emulator())
        self.api.behaviour.lifetime = lifetime
        self.bao.write_policy("ticket-refresher", (ROOT / "policies/ticket-refresher.hcl").read_text())
        self.bao.write_policy("ticket-reader", (ROOT / "policies/ticket-reader.hcl").read_text())
        self.profiles = [f"p{number:05}" for number in range(profiles)]
        for name in self.profiles:
            grant = {"refresh_token": self.api.issue_grant(CLIENT), "client_id": CLIENT}
            self.bao.write(f"secret/data/ticket/{name}/grant", {"data": grant})

    def daemon(self, name: str, **daemon: Any) -> Daemon:
        host = Host(self.folder / name, apart=False)
        host.environ = {**self.bao.env, "VAULT_TOKEN": self.bao.token_for("ticket-refresher", ttl="2h")}
        listen = [f"unix:{socket_of(host)}", *daemon.pop("listen", [])]
        tables = {"daemon": {"listen": listen, "rate": 1_000_000} | daemon}
        profiles = {one: {"client_id": CLIENT, "token_url": self.api.token_url} for one in self.profiles}
        host.configure(toml(tables) + toml({"profiles": profiles}))
        return Daemon(host)

    def left(self, name: str) -> float:
        """What the ticket on the leased path has left; below zero where there is none."""
        found = self.bao.read(f"secret/data/ticket/{name}/token")
        data = (found or {}).get("data")
        if not data:
            return -1.0
        return (datetime.fromisoformat(data["expires_at"]) - datetime.now(UTC)).total_seconds()


# -- hand-outs


def hand_outs() -> Iterator[Line]:
    """wrk asks the daemon over TCP, with a Vault token, and `bao` for the same document, in turns."""
    if shutil.which("wrk") is None:
        yield Line("hand-outs a second / reads of bao", None, "", 2.0, at_least=True, note="wrk is not here")
        return
    port = free_port()
    with ExitStack() as stack:
        place = Place(stack, profiles=1, lifetime=3600, audit=False)
        for audited in (False, True):
            name = "audited" if audited else "plain"
            more = {"audit": str(place.folder / "audit.jsonl")} if audited else {}
            with place.daemon(name, listen=[f"127.0.0.1:{port}"], **more) as daemon:
                daemon.wait_until_ready()
                reader = place.bao.token_for("ticket-reader", ttl="2h")
                ours = f"http://127.0.0.1:{port}/v1/tickets/{place.profiles[0]}"
                theirs = f"{place.bao.address}/v1/secret/data/ticket/{place.profiles[0]}/token"
                for connections in CONNECTIONS:
                    rates: dict[str, float] = {}
                    tails: dict[str, float] = {}
                    each: dict[str, list[tuple[float, float]]] = {"ours": [], "bao": [], "root": []}
                    for _ in range(ROUNDS):
                        each["ours"].append(wrk(ours, reader, connections))
                        each["bao"].append(wrk(theirs, reader, connections))
                        each["root"].append(wrk(theirs, place.bao.root_token, connections))
                    for who, found in each.items():
                        rates[who] = statistics.median(rate for rate, _ in found)
                        tails[who] = statistics.median(tail for _, tail in found)
                    what = f"hand-outs a second, {connections} connections" + (", audited" if audited else "")
                    shown = {who: f"{rates[who]:,.0f} (p99 {tails[who]:.1f} ms)" for who in each}
                    note = f"{shown['ours']} / {shown['bao']}"
                    yield Line(f"{what} / reads of bao", rates["ours"] / rates["bao"], "", 2.0, True, note)
                    note = f"no policy is looked up for it: {shown['root']}"
                    yield Line("… / reads of bao by a root token", rates["ours"] / rates["root"], note=note)
            forget(daemon)


def wrk(url: str, token: str, connections: int) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds; every answer must be a good one."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{WRK_SECONDS}s", "--latency", "-H", f"X-Vault-Token: {token}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"wrk was not served well:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    assert rate, done.stdout
    assert tail, done.stdout
    return float(rate[1]), float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]]


# -- many profiles


def kept_fresh(profiles: int, seconds: float, lifetime: int) -> Iterator[Line]:
    """The same profiles kept by one daemon, then by two."""
    hard = min(120.0, lifetime / 10)
    spent = {}
    for count in (1, 2):
        with ExitStack() as stack:
            place = Place(stack, profiles=profiles, lifetime=lifetime, audit=True)
            daemons = [stack.enter_context(running(place.daemon(f"host-{number}"))) for number in range(count)]
            for daemon in daemons:
                wait_until(daemon.ready, "every ticket", timeout=300)
            watch = Watch(place, daemons)
            watch.go_on(seconds)
            spent[count] = watch.spends
            if count == 1:
                what = f"{profiles:,} profiles, tickets of {lifetime} s, {seconds:g} s"
                yield Line(f"{what}: least left on the leased path", watch.least, "s", hard, at_least=True,
                           note=f"{watch.samples:,} reads of Vault; the hard window has {hard:g} s")  # fmt: skip
                yield Line(f"{what}: least left in the daemon", watch.least_kept, "s", hard, at_least=True)
                yield Line("refreshes a second", watch.spends / seconds)
                yield Line("requests to Vault a refresh, looks that find nothing to do among them", watch.requests)
                yield Line("resident memory at the end", watch.seen[-1]["memory"], "MiB", 120.0,
                           note=f"{watch.seen[0]['memory']:.1f} MiB at the start")  # fmt: skip
                for name in ("threads", "descriptors"):
                    early, late, most = watch.halves(name)
                    note = f"{early:g} and {late:g}, at most {most:g}: each request under way has a watchdog"
                    yield Line(f"{name}, median of the second half / first half", late / early, "", 1.2, note=note)
                # Eight workers with a watchdog each, and eight threads besides.
                yield Line("most threads", watch.halves("threads")[2], "", 24)
                yield Line("processor time of the daemon", watch.processor / seconds * 100, "% of one core")
        for daemon in daemons:
            forget(daemon)
    note = f"{spent[1]:,} and {spent[2]:,}"
    yield Line("spends of two daemons / of one", spent[2] / spent[1], "", 1.1, note=note)


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """Told when it is not needed any more, so that it revokes and releases what it has."""
    with daemon:
        yield daemon
        daemon.terminate()


def forget(daemon: Daemon) -> None:
    shutil.rmtree(daemon.socket.parent, ignore_errors=True)


class Watch:
    """Looks at Vault and at the daemons while they work."""

    def __init__(self, place: Place, daemons: list[Daemon]) -> None:
        self.place, self.daemons = place, daemons
        self.least, self.least_kept, self.samples = float("inf"), float("inf"), 0
        self.seen = [usage(daemons[0])]

    def go_on(self, seconds: float) -> None:
        spends, mark = self.place.api.stats().refreshes, self.place.bao.mark()
        ends, turn = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            began = time.monotonic()
            for name in self.place.profiles[turn::40]:
                self.least = min(self.least, self.place.left(name))
                self.samples += 1
            turn = (turn + 1) % 40
            if turn % 5 == 0:
                self._look_at_daemons()
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
        self.spends = self.place.api.stats().refreshes - spends
        self.requests = len(self.place.bao.requests_seen(mark)) / max(1, self.spends)

    @property
    def processor(self) -> float:
        return self.seen[-1]["processor"] - self.seen[0]["processor"]

    def halves(self, name: str) -> tuple[float, float, float]:
        """The median of the first half of the time, and of the second; the most. What leaks raises the median."""
        each, half = [one[name] for one in self.seen], len(self.seen) // 2
        return statistics.median(each[:half]), statistics.median(each[half:]), max(each)

    def _look_at_daemons(self) -> None:
        self.seen.append(usage(self.daemons[0]))
        for daemon in self.daemons:
            left = [value for name, value in daemon.metrics().items() if name.startswith("vault_ticket_ticket_left")]
            self.least_kept = min(self.least_kept, *left)


def usage(daemon: Daemon) -> Mapping[str, float]:
    """Memory in MiB, threads, file descriptors, processor seconds."""
    process = Path(f"/proc/{daemon.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    times = (process / "stat").read_text().rpartition(") ")[2].split()
    descriptors = 0
    with suppress(OSError):
        descriptors = len(list((process / "fd").iterdir()))
    return {
        "memory": float(status["VmRSS"].split()[0]) / 1024,
        "threads": float(status["Threads"]),
        "descriptors": float(descriptors),
        "processor": (int(times[11]) + int(times[12])) / 100,
    }


if __name__ == "__main__":
    main()
