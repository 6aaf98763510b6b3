"""Which points of which series were queued for whom: the table ``seen``, by far the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, text

from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.batch_codec import point_hash
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet
from mlflow_monitoring_exporter.state.schema import seen
from mlflow_monitoring_exporter.state.statements import execute_many, insert

#: One list of pairs instead of two variables for each: a seventh of the time.
_MASKS = {
    "sqlite": text(
        "SELECT seen.series, seen.point, seen.mask FROM json_each(:pairs) AS pair CROSS JOIN seen "
        "ON seen.series = json_extract(pair.value, '$[0]') AND seen.point = json_extract(pair.value, '$[1]')"
    ),
    "postgresql": text(
        "SELECT seen.series, seen.point, seen.mask FROM unnest(CAST(:series AS bigint[]), CAST(:points AS bigint[])) "
        "AS pair (series, point) JOIN seen ON seen.series = pair.series AND seen.point = pair.point"
    ),
}
#: The same for writing, in half of the time.
_MARK = text(
    "INSERT INTO seen (series, point, mask) SELECT * FROM unnest("
    "CAST(:series AS bigint[]), CAST(:point AS bigint[]), CAST(:mask AS bigint[])) "
    "ON CONFLICT (series, point) DO UPDATE SET mask = excluded.mask"
)


def mark_unseen(
    tx: Connection, read: Sequence[tuple[int, Sequence[Point], Sequence[QueueId]]], *, fresh: bool = False
) -> list[dict[QueueId, list[Point]]]:
    """Of each ``(series id, points, queues)`` the points that were never queued, by queue.

    They count as queued from now on. Each series may be named once. Of ``fresh`` ones none ever was.
    """
    hashed = [{point_hash(point): point for point in points} for _, points, _ in read]
    masks: Mapping[tuple[int, int], int] = {}
    if not fresh:
        masks = _masks(tx, [(one[0], digest) for one, points in zip(read, hashed, strict=True) for digest in points])
    bits: dict[int, tuple[int, Sequence[tuple[QueueId, int]]]] = {}
    found: list[dict[QueueId, list[Point]]] = []
    rows: list[dict[str, int]] = []
    for (series_id, _, queues), points in zip(read, hashed, strict=True):
        if id(queues) not in bits:  # most are the same tuple
            bits[id(queues)] = int(QueueSet.of(queues)), [(queue, int(QueueSet.of([queue]))) for queue in queues]
        wanted, each = bits[id(queues)]
        before = {} if fresh else {digest: masks.get((series_id, digest), 0) for digest in points}
        if any(before.values()):
            found.append({queue: [points[at] for at, mask in before.items() if not mask & bit] for queue, bit in each})
            rows += [
                {"series": series_id, "point": at, "mask": mask | wanted}
                for at, mask in before.items()
                if mask & wanted != wanted
            ]
        else:
            found.append({queue: list(points.values()) for queue in queues})
            rows += [{"series": series_id, "point": at, "mask": wanted} for at in points]
    _mark(tx, rows, fresh=fresh)
    return found


def _masks(tx: Connection, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For whom each of these ``(series, point)`` was queued; those that were queued for none are left out."""
    given: dict[str, Any] = {"pairs": orjson.dumps(pairs).decode()}
    if tx.dialect.name == "postgresql":
        given = {"series": [series_id for series_id, _ in pairs], "points": [digest for _, digest in pairs]}
    found = tx.execute(_MASKS[tx.dialect.name], given)
    return {(series_id, digest): mask for series_id, digest, mask in found}


def _mark(tx: Connection, rows: Sequence[Mapping[str, int]], *, fresh: bool) -> None:
    """Take over masks of ``(series, point)``, which are all new or may not be."""
    if fresh:
        execute_many(tx, seen.insert(), rows)
        return
    if tx.dialect.name == "postgresql":
        if rows:
            tx.execute(_MARK, {name: [row[name] for row in rows] for name in ("series", "point", "mask")})
        return
    statement = insert(tx, seen)
    changed = {"mask": statement.excluded.mask}
    execute_many(tx, statement.on_conflict_do_update(index_elements=["series", "point"], set_=changed), rows)
