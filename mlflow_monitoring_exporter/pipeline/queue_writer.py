"""Points that were read become samples in queues, each point once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from mlflow_monitoring_exporter.core.sample_columns import GrowingColumns
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.pipeline.queues import Queue
from mlflow_monitoring_exporter.state.backlog import UnqueuedSeries
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.seen_points import mark_unseen

_log = structlog.get_logger(__name__)


class ReadSeries(NamedTuple):
    """What was read of one series in one go; ``complete`` when that was its end."""

    item: UnqueuedSeries
    points: Sequence[Point]
    complete: bool


def with_room(tx: Connection, queues: Sequence[Queue], size: int = 1) -> list[Queue]:
    """Those that take so many bytes more now."""
    return [q for q in queues if q.drop_oldest or Outbox.waiting_bytes(tx, q.id) + size <= q.max_bytes]


def queue_unseen(
    tx: Connection,
    read: Sequence[ReadSeries],
    queues: Sequence[Queue],
    since: Mapping[QueueId, int],
    *,
    partition: int = UNDIVIDED,
    fresh: bool = False,
) -> Mapping[str, int]:
    """Queue what was never queued before, and remember it, as part of the caller's transaction.

    What is older than ``since`` says for a queue is only remembered. Of ``fresh`` series nothing ever was queued.
    How many samples, by exporter.
    """
    samples = {queue.id: GrowingColumns() for queue in queues}
    all_ids = tuple(queue.id for queue in queues)
    wanting = [[queue for queue in queues if queue.wants(one.item)] for one in read]
    ids = [all_ids if len(some) == len(queues) else tuple(queue.id for queue in some) for some in wanting]
    unseen = mark_unseen(
        tx, [(one.item.series_id, one.points, some) for one, some in zip(read, ids, strict=True)], fresh=fresh
    )
    for one, some, missing in zip(read, wanting, unseen, strict=True):
        item = one.item
        length = item.latest.step - (item.from_step or 0) + 1
        for queue in some:
            points = missing[queue.id]
            if (begin := since.get(queue.id)) is not None:
                points = [point for point in points if point.timestamp_ms >= begin]
            queue.view.add_to(samples[queue.id], item.context, points, of=length)
    for queue in queues:
        Outbox.enqueue(tx, queue.id, samples[queue.id], batch_size=queue.batch_size, partition=partition)
        if queue.drop_oldest:
            _make_room(tx, queue)
    return {queue.name: len(samples[queue.id]) for queue in queues}


def _make_room(tx: Connection, queue: Queue) -> None:
    excess = Outbox.waiting_bytes(tx, queue.id) - queue.max_bytes
    if excess > 0:
        dropped = Outbox.drop_oldest(tx, queue.id, excess)
        _log.warning("queue full; dropped oldest samples", exporter=queue.name, samples=dropped)
