"""What back ends have not yet, found from their offsets: reads nothing of a spool that was sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_monitoring_tracking.sending.progress import load
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import living_writers, read_run
from mlflow_monitoring_tracking.spool.records import Artifact, Ended, Params, Points, Record, Tags

BEGINNING = Place(0, 0)


@dataclass(slots=True)
class Backlog:
    """How far one back end is with a whole spool. ``set_aside`` are points and other records.

    ``bytes`` are those not sent yet, or some hundred thousand more: space allocated for a full disk counts, too.
    """

    delivered_points: int = 0
    set_aside: int = 0
    damaged_bytes: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Points, and other records, that a back end has not."""

    points: int
    records: int

    def __bool__(self) -> bool:
        return bool(self.points or self.records)


def backlogs(spool: Path, back_ends: Iterable[str]) -> dict[str, Backlog]:
    """How far each back end is. Looks at sizes and offsets only."""
    found = {name: Backlog() for name in back_ends}
    for directory in run_directories(spool):
        ends = _sizes(directory)
        for name, backlog in found.items():
            progress = load(directory, name)
            backlog.delivered_points += progress.counts.delivered_points
            backlog.set_aside += progress.counts.set_aside_points + progress.counts.set_aside
            backlog.damaged_bytes += progress.counts.damaged_bytes
            for writer, places in ends.items():
                there = progress.places.get(writer, BEGINNING)
                backlog.bytes += sum(
                    size - (there.offset if number == there.number else 0)
                    for number, size in places
                    if number >= there.number
                )
    return found


def ends(directory: RunDirectory) -> dict[str, Place]:
    """How far the files of each writer go now."""
    return {writer: Place(*max(sizes)) for writer, sizes in _sizes(directory).items()}


def waiting(directory: RunDirectory, back_end: str, until: Mapping[str, Place] | None = None) -> Waiting:
    """What a back end has not of what writers wrote before ``until``; of all by default.

    :raises OSError: the run's files cannot be read.
    :raises SpoolFormatError: one of them is no segment, or of a later release.
    """
    progress = load(directory, back_end)
    points, records = 0, int(progress.to_end is not None)
    for read in read_run(directory, progress.places):
        if until is None or read.place <= until.get(read.writer, BEGINNING):
            if isinstance(read.record, Points):
                points += len(read.record.points)
            else:
                records += items(read.record)
    return Waiting(points, records)


def lacks_end(directory: RunDirectory, back_ends: Iterable[str]) -> bool:
    """Whether all processes of a run died, every back end has all they wrote, and no end was among it.

    :raises OSError: the run's files cannot be read.
    :raises SpoolFormatError: one of them is no segment, or of a later release.
    """
    if not directory.segments() or living_writers(directory):
        return False
    return not any(
        (progress := load(directory, name)).ended or progress.to_end or waiting(directory, name) for name in back_ends
    )


def is_complete(directory: RunDirectory, back_ends: Iterable[str]) -> bool:
    """Whether the run ended, and each of these back ends has all of it. A look at one small file."""
    try:
        return set(back_ends) <= set(json.loads(directory.complete.read_bytes()))
    except (OSError, ValueError, TypeError):
        return False


def items(record: Record | None) -> int:
    """How many things a back end is sent for a record; points are not asked about."""
    if isinstance(record, (Params, Tags)):
        return len(record.values)
    return int(isinstance(record, (Artifact, Ended)))


def _sizes(directory: RunDirectory) -> dict[str, list[tuple[int, int]]]:
    """Number and bytes of each segment, by writer."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name in directory.segments():
        with suppress(FileNotFoundError):  # removed meanwhile
            found.setdefault(name.writer, []).append((name.number, directory.segment(name).stat().st_size))
    return found
