"""A spool as a monitor sees it: what was logged, what arrived and how late, what waits. Reads little of its files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_monitoring_tracking.backlog import backlogs
from mlflow_monitoring_tracking.sending.progress import Progress, load
from mlflow_monitoring_tracking.sending.totals import Totals, load_totals
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError, read_run
from mlflow_monitoring_tracking.spool.records import Points
from mlflow_monitoring_tracking.spool.room import size_of


@dataclass(slots=True)
class SpoolReport:
    """``totals`` count from the beginning of the spool, with runs that were removed; the others are as they are now.

    ``waiting_bytes`` and ``oldest_ms``, the time of the first point that waits, are by back end; the latter only where
    one waits.
    """

    totals: Totals
    open_runs: int = 0
    size_bytes: int = 0
    waiting_bytes: dict[str, int] = field(default_factory=dict)
    oldest_ms: dict[str, int] = field(default_factory=dict)


def report_on(spool: Path, back_ends: Iterable[str]) -> SpoolReport:
    """Look at it now. Files that go meanwhile, and runs that cannot be read, are left out."""
    names = tuple(back_ends)
    # Before the runs: one that is removed meanwhile is missing for once, and not counted twice.
    found = SpoolReport(load_totals(spool), size_bytes=size_of(spool))
    for directory in run_directories(spool):
        if directory.segments():
            _add(found, directory, names)
    found.waiting_bytes = {name: backlog.bytes for name, backlog in backlogs(spool, names).items()}
    return found


def _add(found: SpoolReport, directory: RunDirectory, names: Iterable[str]) -> None:
    found.totals.runs += 1
    found.open_runs += not directory.complete.exists()
    lost = 0
    for name in names:
        progress = load(directory, name)
        found.totals.of(name).add(progress)
        lost = max(lost, progress.counts.lost_points)
        if (oldest := _oldest(directory, progress)) is not None:
            found.oldest_ms[name] = min(oldest, found.oldest_ms.get(name, oldest))
    found.totals.lost_points += lost


def _oldest(directory: RunDirectory, progress: Progress) -> int | None:
    with suppress(OSError, SpoolFormatError):
        for read in read_run(directory, progress.places):
            if isinstance(read.record, Points):
                return read.record.points[0].time_ms
    return None
