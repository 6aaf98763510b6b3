"""What a spool holds, as tests ask for it."""

from __future__ import annotations

from pathlib import Path

from mlflow_monitoring_tracking.spool.layout import run_directories, run_directory
from mlflow_monitoring_tracking.spool.reader import opened, read_run
from mlflow_monitoring_tracking.spool.records import Ended, Lost, Opened, Params, Point, Points, Record, Tags


def keys(spool: Path) -> list[str]:
    """The keys of all runs."""
    return [run.run_key for directory in run_directories(spool) if (run := opened(directory)) is not None]


def only_key(spool: Path) -> str:
    [key] = keys(spool)
    return key


def records(spool: Path, key: str | None = None) -> list[Record]:
    """All records of a run, the only one by default; none may be damaged."""
    reads = list(read_run(run_directory(spool, key or only_key(spool)), {}))
    assert not any(read.damaged for read in reads)
    return [read.record for read in reads if read.record is not None]


def points(spool: Path, key: str | None = None) -> list[Point]:
    return [point for record in records(spool, key) if isinstance(record, Points) for point in record.points]


def steps(spool: Path, metric: str, key: str | None = None) -> list[int | None]:
    return sorted(point.step for point in points(spool, key) if point.key == metric)  # type: ignore[type-var]


def params(spool: Path, key: str | None = None) -> dict[str, str]:
    return {k: v for record in records(spool, key) if isinstance(record, Params) for k, v in record.values.items()}


def tags(spool: Path, key: str | None = None) -> dict[str, str]:
    return {k: v for record in records(spool, key) if isinstance(record, Tags) for k, v in record.values.items()}


def statuses(spool: Path, key: str | None = None) -> list[str]:
    return [record.status for record in records(spool, key) if isinstance(record, Ended)]


def lost(spool: Path, key: str | None = None) -> int:
    return sum(record.points for record in records(spool, key) if isinstance(record, Lost))


def openings(spool: Path, key: str | None = None) -> list[Opened]:
    return [record for record in records(spool, key) if isinstance(record, Opened)]
