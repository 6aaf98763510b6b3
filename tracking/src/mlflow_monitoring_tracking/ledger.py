"""What became of what was logged: for each run and each back end, from the files of the spool alone.

``logged = delivered + waiting + set aside + lost`` holds for points at any instant, also while a run is written and
sent: how far each back end is, is read first, so whatever is found behind that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from mlflow_monitoring_tracking.backlog import BEGINNING, items
from mlflow_monitoring_tracking.sending.progress import Counts, load
from mlflow_monitoring_tracking.sending.trimming import load_trimmed
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import Read, SpoolFormatError, living_writers, read_run
from mlflow_monitoring_tracking.spool.records import Artifact, Ended, Lost, Opened, Params, Point, Points, Tags
from mlflow_monitoring_tracking.spool.room import size_of


@dataclass(slots=True)
class Share:
    """What one back end has of a run.

    ``waiting`` are points, ``oldest_waiting_ms`` is the time of the earliest of them; ``waiting_records`` are
    parameters, tags, files, and the run's end.
    """

    run_id: str | None
    ended: str | None
    counts: Counts
    waiting: int = 0
    waiting_records: int = 0
    oldest_waiting_ms: int | None = None

    @property
    def unsent(self) -> int:
        """Whatever waits."""
        return self.waiting + self.waiting_records

    @property
    def set_aside(self) -> int:
        """Points and other records that were refused for good."""
        return self.counts.set_aside_points + self.counts.set_aside


@dataclass(slots=True)
class RunContents:
    """What a run's directory holds. ``status`` is RUNNING while a process writes, and UNKNOWN if all of them died.

    ``logged`` are points, with the ``lost`` ones that are in no file. ``latest`` has the point of the greatest step of
    each key, the latest one of that step. ``unreadable`` says why nothing more is known of a run.
    """

    run: Opened | None = None
    status: str = "UNKNOWN"
    logged: int = 0
    lost: int = 0
    lost_records: int = 0
    damaged_bytes: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, Point] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    shares: dict[str, Share] = field(default_factory=dict)
    unreadable: str | None = None


@dataclass(slots=True)
class Total:
    """What one back end has of a whole spool: points, and the runs of which it has not all."""

    logged: int = 0
    delivered: int = 0
    waiting: int = 0
    set_aside: int = 0
    lost: int = 0
    runs_left: int = 0
    records_set_aside: int = 0
    oldest_waiting_ms: int | None = None

    @property
    def unaccounted(self) -> int:
        """Points of which nothing is known; negative where delivered ones were damaged since. 0 in a sound spool."""
        return self.logged - (self.delivered + self.waiting + self.set_aside + self.lost)


@dataclass(slots=True)
class SpoolContents:
    """A whole spool. ``unreadable`` has the reason for each run that cannot be read, which is in no total."""

    size_bytes: int = 0
    runs: int = 0
    logged: int = 0
    lost: int = 0
    damaged_bytes: int = 0
    totals: dict[str, Total] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def spool_of(path: Path) -> Path:
    """The spool of a ``tracking_dir``, or the path itself if it is one."""
    return path / "spool" if (path / "spool").is_dir() else path


def is_spool(path: Path) -> bool:
    """Whether a directory is a ``tracking_dir`` with its spool, or a spool with runs."""
    return (path / "spool").is_dir() or any(directory.segments() for directory in run_directories(path))


def back_ends(directory: RunDirectory) -> list[str]:
    """The names of all back ends that were ever sent this run."""
    sent = directory.path / "sent"
    return sorted(unquote(path.stem) for path in sent.glob("*.json")) if sent.is_dir() else []


def contents(directory: RunDirectory, wanted: Iterable[str] = ()) -> RunContents:
    """Read all of a run. ``wanted`` are back ends that it is to be sent to, though none of it may have been.

    :raises OSError: its files cannot be read.
    :raises SpoolFormatError: one of them is no segment, or of a later release.
    """
    found = RunContents()
    places: dict[str, Mapping[str, Place]] = {}
    for name in sorted({*back_ends(directory), *wanted}):
        progress = load(directory, name)
        found.shares[name] = Share(progress.run.run_id, progress.ended, progress.counts)
        found.shares[name].waiting_records += progress.to_end is not None
        places[name] = progress.places
    is_alive = bool(living_writers(directory))
    owner: str | None = None
    for read in read_run(directory, {}):
        record = read.record
        behind = [found.shares[n] for n, there in places.items() if there.get(read.writer, BEGINNING) < read.place]
        if isinstance(record, Points):
            _add_points(found, record.points, behind)
            continue
        if isinstance(record, Opened) and (record.owner or found.run is None):
            found.run = record
            if record.owner and read.writer != owner:  # its first process, or one that goes on after a restart
                found.status, owner = "UNKNOWN", read.writer
        for share in behind:
            share.waiting_records += items(record)
        _add(found, read)
    trimmed = load_trimmed(directory)
    found.lost += trimmed.lost_points
    found.lost_records += trimmed.lost_records
    found.logged += trimmed.points + found.lost
    if found.status == "UNKNOWN" and is_alive:
        found.status = "RUNNING"
    return found


def runs(spool: Path) -> Iterator[tuple[RunDirectory, RunContents]]:
    """All runs of a spool. A back end that was sent one of them is in the shares of each.

    A run that cannot be read has ``unreadable``; one that was removed meanwhile is left out.
    """
    directories = [directory for directory in run_directories(spool) if directory.segments()]
    wanted = {name for directory in directories for name in back_ends(directory)}
    for directory in directories:
        try:
            found = contents(directory, wanted)
        except (OSError, SpoolFormatError) as error:
            if not directory.path.exists():
                continue
            found = RunContents(unreadable=str(error))
        yield directory, found


def spool_contents(spool: Path) -> SpoolContents:
    """The sums of all runs, for each back end."""
    whole = SpoolContents(size_of(spool))
    for directory, found in runs(spool):
        whole.runs += 1
        if found.unreadable is not None:
            whole.unreadable[directory.path] = found.unreadable
            continue
        whole.logged += found.logged
        whole.lost += found.lost
        whole.damaged_bytes += found.damaged_bytes
        for name, share in found.shares.items():
            _sum(whole.totals.setdefault(name, Total()), found, share)
    return whole


def _add_points(found: RunContents, points: Sequence[Point], behind: Sequence[Share]) -> None:
    found.logged += len(points)
    for point in points:
        last = found.latest.get(point.key)
        if last is None or (point.step or 0, point.time_ms) >= (last.step or 0, last.time_ms):
            found.latest[point.key] = point
    for share in behind:
        share.waiting += len(points)
        earliest = points[0].time_ms
        share.oldest_waiting_ms = (
            earliest if share.oldest_waiting_ms is None else min(earliest, share.oldest_waiting_ms)
        )


def _add(found: RunContents, read: Read) -> None:
    record = read.record
    if isinstance(record, Ended):
        found.status = record.status
    elif isinstance(record, Params):
        found.params |= record.values
    elif isinstance(record, Tags):
        found.tags |= record.values
    elif isinstance(record, Artifact):
        found.artifacts.append(record)
    elif isinstance(record, Lost):
        found.lost += record.points
        found.lost_records += record.records
    else:
        found.damaged_bytes += read.damaged


def _sum(total: Total, found: RunContents, share: Share) -> None:
    total.logged += found.logged
    total.delivered += share.counts.delivered_points
    total.waiting += share.waiting
    total.set_aside += share.counts.set_aside_points
    total.records_set_aside += share.counts.set_aside
    total.lost += found.lost
    total.runs_left += bool(share.unsent) or share.ended is None
    if share.oldest_waiting_ms is not None:
        oldest = total.oldest_waiting_ms
        total.oldest_waiting_ms = share.oldest_waiting_ms if oldest is None else min(oldest, share.oldest_waiting_ms)
