"""A table of texts for a terminal or a pipe: aligned, no colour, nothing cut."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "


def show_table(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    """Lines with their ends. The last column is not padded."""
    table = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    lines = (GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "".join(f"{line}\n" for line in lines)
