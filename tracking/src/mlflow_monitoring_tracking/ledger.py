"""What became of what was logged: for each run and back end, from the files of the spool alone.

``logged = delivered + waiting + set aside + lost`` holds at any instant for points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_monitoring_tracking.sending.progress import Counts, load
from mlflow_monitoring_tracking.spool.layout import RunDirectory
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import Read, living_writers, read_run
from mlflow_monitoring_tracking.spool.records import Artifact, Ended, Lost, Opened, Params, Point, Points, Tags


@dataclass(slots=True)
class Share:
    """What one back end has of a run. ``waiting`` are points, ``oldest_waiting_ms`` is the time of the first."""

    run_id: str | None
    ended: str | None
    counts: Counts
    waiting: int = 0
    oldest_waiting_ms: int | None = None


@dataclass(slots=True)
class RunContents:
    """What a run's directory holds. ``status`` is RUNNING while a process writes, and UNKNOWN if it died.

    ``logged`` are points, with the ``lost`` ones that are in no file.
    """

    run: Opened | None = None
    status: str = "UNKNOWN"
    logged: int = 0
    lost: int = 0
    damaged_bytes: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, Point] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    shares: dict[str, Share] = field(default_factory=dict)


def back_ends(directory: RunDirectory) -> list[str]:
    """The names of all back ends that were ever sent this run."""
    sent = directory.path / "sent"
    return sorted(path.stem for path in sent.glob("*.json")) if sent.is_dir() else []


def contents(directory: RunDirectory, wanted: Iterable[str] = ()) -> RunContents:
    """Read all of a run. ``wanted`` are back ends that it is to be sent to, though none of it may have been.

    :raises OSError: its files cannot be read.
    :raises SpoolFormatError: one of them is no segment, or of a later release.
    """
    found = RunContents()
    places: dict[str, dict[str, Place]] = {}
    for name in {*back_ends(directory), *wanted}:
        progress = load(directory, name)
        found.shares[name] = Share(progress.run.run_id, progress.ended, progress.counts)
        places[name] = progress.places
    for read in read_run(directory, {}):
        if isinstance(read.record, Points):
            behind = [name for name, there in places.items() if there.get(read.writer, Place(0, 0)) < read.place]
            _add_points(found, read.record.points, behind)
        else:
            _add(found, read)
    found.logged += found.lost
    if found.status == "UNKNOWN" and living_writers(directory):
        found.status = "RUNNING"
    return found


def _add_points(found: RunContents, points: Sequence[Point], behind: Sequence[str]) -> None:
    found.logged += len(points)
    found.latest.update((point.key, point) for point in points)
    for name in behind:
        share = found.shares[name]
        share.waiting += len(points)
        share.oldest_waiting_ms = min(points[0].time_ms, share.oldest_waiting_ms or points[0].time_ms)


def _add(found: RunContents, read: Read) -> None:
    record = read.record
    if isinstance(record, Opened):
        if record.owner or found.run is None:
            if found.run is None or (record.host, record.pid) != (found.run.host, found.run.pid):
                found.status = "UNKNOWN"
            found.run = record
    elif isinstance(record, Ended):
        found.status = record.status
    elif isinstance(record, Params):
        found.params |= record.values
    elif isinstance(record, Tags):
        found.tags |= record.values
    elif isinstance(record, Artifact):
        found.artifacts.append(record)
    elif isinstance(record, Lost):
        found.lost += record.points
    else:
        found.damaged_bytes += read.damaged


def spool_of(path: Path) -> Path:
    """The spool of a ``tracking_dir``, or the path itself if it is one."""
    return path / "spool" if (path / "spool").is_dir() else path
