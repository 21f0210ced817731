"""`python -m tests.bench`: measures, prints, and writes JSON and markdown where asked."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from tests.bench import report
from tests.bench.environment import ROOT, Ground
from tests.bench.rows import measure, say
from tests.bench.timing import Stopwatch

MIN_RUNS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=report.__doc__)
    parser.add_argument("--runs", type=int, default=40, help=f"of each command (default 40; {MIN_RUNS} at least)")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--markdown", action="store_true", help="renew the table in docs/performance.md")
    given = parser.parse_args()
    if given.runs < MIN_RUNS:
        parser.error(f"fewer than {MIN_RUNS} runs say little")
    command = shlex.join(["scripts/bench", *(["--runs", str(given.runs)] if given.runs != 40 else [])])
    say("installing the package as a user has it …")
    with Ground() as ground:
        watch = Stopwatch()
        try:
            results = measure(ground, watch, given.runs)
        finally:
            watch.close()
    where = report.machine()
    print("\n".join(report.as_lines(results)))
    if given.json:
        given.json.write_text(json.dumps(report.as_json(results, where, command), indent=2) + "\n")
    if given.markdown:
        report.replace_measured(ROOT / "docs/performance.md", report.as_markdown(results, where, command))
    sys.exit(any(row.met is False for row in results.rows))


if __name__ == "__main__":
    main()
