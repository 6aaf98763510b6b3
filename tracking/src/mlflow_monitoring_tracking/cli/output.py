"""Print tables and JSON; what comes from a spool reaches no terminal raw."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence


def printable(text: object) -> str:
    """Text whose control characters and directions of writing are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def print_json(value: object) -> None:
    """In ASCII, so that every terminal and pipe takes it."""
    sys.stdout.write(f"{json.dumps(value, indent=2)}\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be; numbers to the right."""
    lines = [list(head), *([printable("-" if cell is None else cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if number and isinstance(rows[number - 1][n], int) else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        sys.stdout.write(f"{'  '.join(cells).rstrip()}\n")
