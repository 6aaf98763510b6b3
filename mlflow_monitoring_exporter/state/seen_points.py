"""Which points of which series were queued for whom: the table ``seen``, by far the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, exists, select, text

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.batch_codec import point_hash
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet
from mlflow_monitoring_exporter.state.schema import seen, series
from mlflow_monitoring_exporter.state.statements import BINDS, execute_many, insert

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

_ANY_POINT = exists().where(seen.c.series == series.c.id)


def mark_unseen(
    tx: Connection, read: Sequence[tuple[int, Sequence[Point], Sequence[QueueId]]], *, fresh: bool = False
) -> list[dict[QueueId, list[Point]]]:
    """Of each ``(series id, points, queues)`` the points that were never queued, by queue.

    They count as queued from now on. Each series may be named once. Of ``fresh`` ones none ever was.
    """
    hashed = [{point_hash(point): point for point in points} for _, points, _ in read]
    known = set() if fresh else _known(tx, [series_id for series_id, _, _ in read])
    masks: Mapping[tuple[int, int], int] = {}
    if known:
        pairs = zip(read, hashed, strict=True)
        masks = _masks(tx, [(one[0], digest) for one, points in pairs if one[0] in known for digest in points])
    bits: dict[int, tuple[int, Sequence[tuple[QueueId, int]]]] = {}
    found: list[dict[QueueId, list[Point]]] = []
    new: list[tuple[int, int, int]] = []
    changed: list[dict[str, int]] = []
    for (series_id, _, queues), points in zip(read, hashed, strict=True):
        if id(queues) not in bits:  # most are the same tuple
            bits[id(queues)] = int(QueueSet.of(queues)), [(queue, int(QueueSet.of([queue]))) for queue in queues]
        wanted, each = bits[id(queues)]
        if series_id not in known:
            found.append({queue: list(points.values()) for queue in queues})
            new += [(series_id, at, wanted) for at in points if wanted]
            continue
        before = {at: masks.get((series_id, at), 0) for at in points}
        found.append({queue: [points[at] for at, mask in before.items() if not mask & bit] for queue, bit in each})
        changed += [
            {"series": series_id, "point": at, "mask": mask | wanted}
            for at, mask in before.items()
            if mask & wanted != wanted
        ]
    _mark_new(tx, new)
    _mark(tx, changed)
    return found


def _known(tx: Connection, series_ids: Sequence[int]) -> set[int]:
    """Those of these series of which any point was queued."""
    found: set[int] = set()
    for some in batches(series_ids, BINDS):
        found.update(tx.execute(select(series.c.id).where(series.c.id.in_(some), _ANY_POINT)).scalars())
    return found


def _masks(tx: Connection, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For whom each of these ``(series, point)`` was queued; those that were queued for none are left out."""
    given: dict[str, Any] = {"pairs": orjson.dumps(pairs).decode()}
    if tx.dialect.name == "postgresql":
        given = {"series": [series_id for series_id, _ in pairs], "points": [digest for _, digest in pairs]}
    found = tx.execute(_MASKS[tx.dialect.name], given)
    return {(series_id, digest): mask for series_id, digest, mask in found}


def _mark_new(tx: Connection, rows: Sequence[tuple[int, int, int]]) -> None:
    """Take over ``(series, point, mask)`` of series of which nothing was queued before."""
    if rows and tx.dialect.name == "sqlite":
        tx.exec_driver_sql("INSERT INTO seen (series, point, mask) VALUES (?, ?, ?)", list(rows))
    else:
        _mark(tx, [dict(zip(("series", "point", "mask"), row, strict=True)) for row in rows])


def _mark(tx: Connection, rows: Sequence[Mapping[str, int]]) -> None:
    """Take over masks of ``(series, point)``, which may be there or not."""
    if tx.dialect.name == "postgresql":
        if rows:
            tx.execute(_MARK, {name: [row[name] for row in rows] for name in ("series", "point", "mask")})
        return
    statement = insert(tx, seen)
    changed = {"mask": statement.excluded.mask}
    execute_many(tx, statement.on_conflict_do_update(index_elements=["series", "point"], set_=changed), rows)
