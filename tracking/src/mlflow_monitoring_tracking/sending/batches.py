"""Cut what was read from a spool into batches, and halve those that a back end refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from mlflow_monitoring_tracking.backends.contract import Pair
from mlflow_monitoring_tracking.sending.progress import Counts
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import Read
from mlflow_monitoring_tracking.spool.records import Artifact, Ended, Lost, Opened, Params, Point, Points, Tags

_Item = TypeVar("_Item")

#: Bytes that a point takes besides its key, in the JSON of MLflow's log-batch.
POINT_BYTES = 90


@dataclass(slots=True)
class Batch:
    """Records that are sent before progress is saved; what was sent is taken out, so that a retry sends the rest.

    ``places`` is where to go on once all of it is sent. ``status`` is the last end of the run in it, with its time.
    """

    points: list[list[Point]] = field(default_factory=list)
    params: list[list[Pair]] = field(default_factory=list)
    tags: list[list[Pair]] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    lost: Counts = field(default_factory=Counts)
    ended: Ended | None = None
    reopened: bool = False


def next_batch(reads: Iterator[Read], max_points: int, max_bytes: int) -> Batch | None:
    """The next records, about ``max_points`` points or ``max_bytes`` of them; None at the end."""
    batch = Batch()
    chunk: list[Point] = []
    params: list[Pair] = []
    tags: dict[str, str] = {}
    room, size = max_points, 0
    for read in reads:
        batch.places[read.writer] = read.place
        record = read.record
        if isinstance(record, Points):
            for point in record.points:
                wanted = len(point.key) * 2 + POINT_BYTES
                if chunk and (len(chunk) >= max_points or size + wanted > max_bytes):
                    batch.points.append(chunk)
                    chunk, size = [], 0
                chunk.append(point)
                size += wanted
            room -= len(record.points)
        elif isinstance(record, Params):
            params += [Pair(key, value) for key, value in record.values.items()]
            room -= len(record.values)
        elif isinstance(record, Tags):
            tags |= record.values
            room -= len(record.values)
        else:
            room -= _other(batch, read)
        if room <= 0 or size >= max_bytes:
            break
    if not batch.places:
        return None
    batch.points += [chunk] if chunk else []
    batch.params = [params] if params else []
    batch.tags = [[Pair(key, value) for key, value in tags.items()]] if tags else []
    return batch


def _other(batch: Batch, read: Read) -> int:
    record = read.record
    if isinstance(record, Artifact):
        batch.artifacts.append(record)
        return 50
    if isinstance(record, Ended):
        batch.ended = record
    elif isinstance(record, Opened):
        if record.owner:
            batch.ended, batch.reopened = None, True
    elif isinstance(record, Lost):
        batch.lost.lost_points += record.points
        batch.lost.lost += record.records
    else:
        batch.lost.damaged_bytes += read.damaged
    return 0


def halve(chunks: list[list[_Item]]) -> _Item | None:
    """Halve the first chunk, which was refused whole; a single item is taken out and returned: it is to blame."""
    first = chunks.pop(0)
    if len(first) == 1:
        return first[0]
    middle = len(first) // 2
    chunks[:0] = [first[:middle], first[middle:]]
    return None
