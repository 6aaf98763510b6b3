"""Print tables, JSON and progress; what comes from outside reaches no terminal raw."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from mlflow_monitoring_tracking.text import printable

#: Back to the beginning of a terminal's line, and clear it.
_CLEAR = "\r\x1b[K"


def say(line: str) -> None:
    """One line for people, on standard output."""
    sys.stdout.write(f"{printable(line)}\n")


def complain(line: str) -> None:
    """One line for people, on standard error."""
    sys.stderr.write(f"{printable(line)}\n")


def print_json(value: object) -> None:
    """In ASCII, so that every terminal and pipe takes it."""
    sys.stdout.write(f"{json.dumps(value, indent=2, allow_nan=False)}\n")


def json_number(value: float) -> float | str:
    """A number of JSON, which has no NaN and no infinity: those are text, in MLflow's words."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be, those with a number to the right; ``-`` for None."""
    lines = [[printable(cell) for cell in head]]
    lines += [[printable("-" if cell is None else cell) for cell in row] for row in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    aligned = [str.rjust if any(isinstance(row[n], int) for row in rows) else str.ljust for n in range(len(head))]
    for line in lines:
        cells = [align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)]
        sys.stdout.write(f"{'  '.join(cells).rstrip()}\n")


def plural(number: int, one: str, several: str | None = None) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def size(number: float) -> str:
    """Bytes for people: ``999 B``, ``1.5 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


class ProgressLine:
    """What a command is at: one line that is replaced on a terminal, a new line each time on a pipe.

    Safe for threads. ``is_terminal`` says which of the two it is.
    """

    def __init__(self, out: TextIO) -> None:
        self.is_terminal = out.isatty()
        self._out = out
        self._shown = False
        self._mutex = threading.Lock()

    def show(self, text: str) -> None:
        """Replace what was shown."""
        with self._mutex:
            text = printable(text)
            if self.is_terminal:
                self._out.write(f"{_CLEAR}{text[: shutil.get_terminal_size().columns - 1]}")
                self._shown = True
            else:
                self._out.write(f"{text}\n")
            self._out.flush()

    def clear(self) -> None:
        """Make room for other lines."""
        with self._mutex:
            if self._shown:
                self._out.write(_CLEAR)
                self._out.flush()
                self._shown = False


class Events(logging.Handler):
    """Warnings of the library as lines on standard error."""

    def __init__(self, progress: ProgressLine) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """One line, without a traceback: what is worth knowing of an error is in its text."""
        self._progress.clear()
        complain(f"{record.levelname.lower()}: {record.getMessage()}")
