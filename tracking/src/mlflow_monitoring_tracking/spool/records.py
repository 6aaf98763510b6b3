"""Records: what a process says about its run, and how each is written as the payload of a frame.

Points are binary, because a training may log a hundred thousand of them a second; everything else is JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_monitoring_tracking.spool.frames import frame

#: The version of records and frames. A reader refuses a segment of a newer one.
FORMAT = 1
_POINTS, _OPENED, _PARAMS, _TAGS, _ARTIFACT, _ENDED, _LOST = 1, 2, 3, 4, 5, 6, 7

_POINTS_HEAD = struct.Struct("<qqH")
_KEY_LENGTH = struct.Struct("<H")
_VALUE = struct.Struct("<d")
_NO_STEP = -(2**63)
#: Points of one frame.
MAX_POINTS = 2**16 - 1
#: Bytes of a key in UTF-8.
MAX_KEY = 2**16 - 1


#: The tag of a run that MLflow has already: its id there. It goes no further than the spool.
GIVEN_RUN = "tracking.mlflow_run_id"


@dataclass(frozen=True, slots=True)
class Opened:
    """The first record of every segment: which run it belongs to, and who writes.

    ``owner`` says that this process began the run and will end it; other processes (forked children, ranks
    above 0) only add to it. Times are milliseconds since 1970.
    """

    format: int
    run_key: str
    experiment: str
    run_name: str | None
    start_ms: int
    owner: bool
    host: str
    pid: int
    rank: int | None = None
    world_size: int | None = None
    parent_key: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    library: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric. ``step`` is None where the caller gave none."""

    key: str
    value: float
    step: int | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Points:
    """Values that were logged by one call."""

    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Params:
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tags:
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file to upload. ``file`` is its name below the run's ``files``, or an absolute path where it was not copied."""

    file: str
    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the run: FINISHED, FAILED or KILLED."""

    status: str
    end_ms: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Points and other records of this writer that are in no file, since its last such record."""

    points: int
    records: int
    reason: str


Record = Opened | Points | Params | Tags | Artifact | Ended | Lost
_JSON_KINDS: Mapping[int, Callable[..., Record]] = {
    _OPENED: Opened,
    _PARAMS: Params,
    _TAGS: Tags,
    _ARTIFACT: Artifact,
    _ENDED: Ended,
    _LOST: Lost,
}
_KIND_OF = {kind: number for number, kind in _JSON_KINDS.items()}


def encode(record: Record) -> bytes:
    """The frame of one record."""
    if isinstance(record, Points):
        first = record.points[0]
        return encode_points(((p.key, p.value) for p in record.points), first.step, first.time_ms)
    payload = json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":"))
    return frame(_KIND_OF[type(record)], payload.encode("utf-8", "surrogatepass"))


def encode_points(values: Iterable[tuple[str, float]], step: int | None, time_ms: int) -> bytes:
    """The frame of points with one step and one time. At most ``MAX_POINTS``, keys of at most ``MAX_KEY`` bytes."""
    parts = [b""]
    for key, value in values:
        name = key.encode("utf-8", "surrogatepass")
        parts += (_KEY_LENGTH.pack(len(name)), name, _VALUE.pack(value))
    parts[0] = _POINTS_HEAD.pack(time_ms, _NO_STEP if step is None else step, len(parts) // 3)
    return frame(_POINTS, b"".join(parts))


def encode_point(key: str, value: float, step: int | None, time_ms: int) -> bytes:
    """The frame of one point."""
    name = key.encode("utf-8", "surrogatepass")
    head = _POINTS_HEAD.pack(time_ms, _NO_STEP if step is None else step, 1)
    return frame(_POINTS, b"".join((head, _KEY_LENGTH.pack(len(name)), name, _VALUE.pack(value))))


def decode(kind: int, payload: bytes) -> Record | None:
    """The record of a frame; None for a kind that a later release invented.

    :raises ValueError: the payload is not what its kind promises.
    """
    if kind == _POINTS:
        return Points(tuple(_points(payload)))
    make = _JSON_KINDS.get(kind)
    if make is None:
        return None
    fields: Any = json.loads(payload.decode("utf-8", "surrogatepass"))
    try:
        known = make.__dataclass_fields__  # type: ignore[attr-defined]  # each is a dataclass
        return make(**{name: value for name, value in fields.items() if name in known})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a record of kind {kind}: {error}") from error


def _points(payload: bytes) -> Iterable[Point]:
    try:
        time_ms, number, count = _POINTS_HEAD.unpack_from(payload)
        step = None if number == _NO_STEP else number
        position = _POINTS_HEAD.size
        for _ in range(count):
            (length,) = _KEY_LENGTH.unpack_from(payload, position)
            key = payload[position + 2 : position + 2 + length].decode("utf-8", "surrogatepass")
            (value,) = _VALUE.unpack_from(payload, position + 2 + length)
            position += 2 + length + 8
            yield Point(key, value, step, time_ms)
    except struct.error as error:
        raise ValueError(f"points that are cut off: {error}") from error
