"""How far a long reading has come: a bar on a terminal, nothing on a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Display

from mlflow_monitoring_exporter.app.self_monitoring import Progress


class _Bar(Progress):
    """Runs first, whose number is unknown; then the series whose points are read."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._task: TaskID = display.add_task("reading runs", total=None)
        self._total: int | None = None

    def runs(self, read: int) -> None:
        self._display.update(self._task, completed=read)

    def series(self, done: int, total: int) -> None:
        if self._total is None:
            self._total = total
            self._display.update(self._task, description="reading points of series", total=total)
        self._display.update(self._task, completed=min(done, self._total))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shown on standard error while the block runs, and gone after it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Display(*columns, console=console, transient=True) as display:
        yield _Bar(display)
