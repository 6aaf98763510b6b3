"""Remove segments of a run that goes on, once every back end has what is in them.

::

    <run>/trimmed.json      replaced before segments are removed, so that a kill in between costs no count

A back end that is added later gets what was written since. Nothing is removed of a run of which something was set
aside: to requeue it needs all of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.sending.progress import load
from mlflow_monitoring_tracking.sending.requeueing import has_set_aside
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.layout import RunDirectory, SegmentName
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import read_segment
from mlflow_monitoring_tracking.spool.records import Artifact, Lost, Points

_BEGINNING = Place(0, 0)


@dataclass(slots=True)
class Trimmed:
    """What was removed: ``up_to`` is the number of the last segment of each writer, the others are sums."""

    up_to: dict[str, int] = field(default_factory=dict)
    points: int = 0
    lost_points: int = 0
    lost_records: int = 0


def load_trimmed(directory: RunDirectory) -> Trimmed:
    """Nothing where nothing was removed, or where the file is damaged."""
    try:
        saved: Any = json.loads(directory.trimmed.read_bytes())
        return Trimmed(
            {writer: int(number) for writer, number in saved["up_to"].items()},
            *(int(saved[name]) for name in ("points", "lost_points", "lost_records")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Trimmed()


def trim(directory: RunDirectory, back_ends: Collection[str]) -> int:
    """Remove what these have all got; how many segments that were. To be called by who holds the run's sender lock.

    :raises OSError: files cannot be read or written.
    :raises SpoolFormatError: a segment cannot be read.
    """
    if not back_ends or has_set_aside(directory):
        return 0
    trimmed = load_trimmed(directory)
    chosen = _done_with(directory, back_ends)
    copies: list[Path] = []
    for name in chosen:
        if name.number > trimmed.up_to.get(name.writer, 0):  # else it was counted before a kill
            copies += _count(directory, name, trimmed)
            trimmed.up_to[name.writer] = name.number
    if chosen:
        _save(directory, trimmed)
    for path in (*copies, *map(directory.segment, chosen)):
        path.unlink(missing_ok=True)
    return len(chosen)


def _done_with(directory: RunDirectory, back_ends: Collection[str]) -> list[SegmentName]:
    """In order. Never the last one of a writer, which says whether it lives and how it ended."""
    segments = directory.segments()
    last = {name.writer: name.number for name in segments}
    places = [load(directory, back_end).places for back_end in back_ends]
    return [
        name
        for name in segments
        if name.number < min(last[name.writer], *(there.get(name.writer, _BEGINNING).number for there in places))
    ]


def _count(directory: RunDirectory, name: SegmentName, trimmed: Trimmed) -> list[Path]:
    """Add what a segment holds; the copies of files that only it speaks of."""
    copies = []
    for read in read_segment(directory, name):
        if isinstance(read.record, Points):
            trimmed.points += len(read.record.points)
        elif isinstance(read.record, Lost):
            trimmed.lost_points += read.record.points
            trimmed.lost_records += read.record.records
        elif isinstance(read.record, Artifact) and not Path(read.record.file).is_absolute():
            copies.append(directory.files / read.record.file)
    return copies


def _save(directory: RunDirectory, trimmed: Trimmed) -> None:
    value = {
        "up_to": trimmed.up_to,
        "points": trimmed.points,
        "lost_points": trimmed.lost_points,
        "lost_records": trimmed.lost_records,
    }
    replace_json(directory.trimmed, value)
