"""Durable queues of payloads, with an account of every item.

::

    put (in the caller's transaction) --> head --> acknowledge       deleted: the platform has it
                                            |
                                            +----> set_aside         moved to the dead letters
                                            +----> drop_oldest       deleted: there was no room

Payloads leave in the order in which they were put, per queue, or per partition of it. One is deleted only after the
platform acknowledged it, so a kill at any instant repeats a delivery at worst, with the same batch id. What the bytes
mean is known to those above (state/outbox.py: samples of exporters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state import partitions
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import Ledger, ledger_of, move
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.state.payload import Payload, QueuedPayload, Refusal
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.schema import dead_letter, exporter, outbox
from mlflow_monitoring_exporter.state.statements import alone

# Made once: to put a statement together takes longer than to execute it.
_HEAD = (
    select(outbox.c.id, outbox.c.batch_id, outbox.c.created_ms, outbox.c.samples, outbox.c.payload)
    .where(outbox.c.exporter == bindparam("of"), outbox.c.id > bindparam("after"))
    .order_by(outbox.c.id)
    .limit(1)
)
_HEAD_OF_PARTITION = _HEAD.where(outbox.c.partition == bindparam("in"))
_TAKING = (
    outbox.delete()
    .where(outbox.c.id == bindparam("place"))
    .returning(outbox.c.exporter, outbox.c.partition, outbox.c.samples, func.length(outbox.c.payload).label("size"))
)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A payload that was just taken out of its queue."""

    queue: QueueId
    partition: int
    items: int


class PayloadQueue:
    """All queues of a state. Usable from every thread; raises StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, name: str) -> QueueId:
        """The queue of this name for payloads that are no points of series, made if need be.

        Names of exporters (state/registration.py) are names, too. Raises StateError for one that an exporter has.
        """
        with self._database.write() as tx:
            alone(tx, exporter)
            row = tx.execute(select(exporter.c.id, exporter.c.slot).where(exporter.c.name == name)).first()
            if row is not None and row.slot is not None:
                raise StateError(f"{name} is an exporter of {self._database.where}, and cannot name another queue")
            if row is not None:
                return QueueId(row.id)
            return new_queue(tx, name)

    @staticmethod
    def put(tx: Connection, queue: QueueId, payloads: Sequence[Payload], *, partition: int = UNDIVIDED) -> None:
        """Queue these, in their order, as part of the caller's transaction."""
        if not payloads:
            return
        rows = [
            {
                "exporter": queue.number,
                "partition": partition,
                "batch_id": payload.batch_id,
                "created_ms": payload.created_ms,
                "samples": payload.items,
                "payload": payload.content,
            }
            for payload in payloads
        ]
        tx.execute(outbox.insert(), rows)
        items, size = sum(p.items for p in payloads), sum(len(p.content) for p in payloads)
        move(tx, queue, enqueued=items, queued=items, queued_batches=len(rows), queued_bytes=size)
        partitions.add(tx, queue, partition, len(rows))

    def head(self, queue: QueueId, partition: int | None = None, *, after: int = 0) -> QueuedPayload | None:
        """The oldest payload that waits in a queue, or in one partition, behind place ``after``; it stays queued."""
        query, given = _HEAD, {"of": queue.number, "after": after}
        if partition is not None:
            query, given = _HEAD_OF_PARTITION, {**given, "in": partition}
        with self._database.read() as tx:
            row = tx.execute(query, given).first()
        if row is None:
            return None
        return QueuedPayload(row.id, Payload(row.batch_id, row.created_ms, row.samples, row.payload))

    def acknowledge(self, place: int) -> None:
        """The platform has what is at this place: delete it. Nothing when it is gone already."""
        with self._database.write() as tx:
            if taken := _take(tx, place):
                move(tx, taken.queue, delivered=taken.items)

    def set_aside(self, place: int, dead: Sequence[tuple[Refusal, Payload]]) -> None:
        """Parts of what is at this place become dead letters; the platform has the rest. Nothing when it is gone."""
        with self._database.write() as tx:
            taken = _take(tx, place)
            if taken is None:
                return
            last_ms, lost = now_ms(), sum(payload.items for _, payload in dead)
            rows = [
                {
                    "exporter": taken.queue.number,
                    "partition": taken.partition,
                    "batch_id": payload.batch_id,
                    "created_ms": payload.created_ms,
                    "first_ms": refusal.first_ms,
                    "last_ms": last_ms,
                    "status": refusal.status,
                    "reason": refusal.reason,
                    "samples": payload.items,
                    "payload": payload.content,
                }
                for refusal, payload in dead
            ]
            if rows:
                tx.execute(dead_letter.insert(), rows)
            move(tx, taken.queue, dead_lettered=lost, dead=lost, delivered=taken.items - lost)

    @staticmethod
    def waiting_bytes(tx: Connection, queue: QueueId) -> int:
        """The size of one queue, as part of the caller's transaction."""
        query = select(exporter.c.queued_bytes).where(exporter.c.id == queue.number)
        size: int = tx.execute(query).scalar_one()
        return size

    @staticmethod
    def drop_oldest(tx: Connection, queue: QueueId, size: int) -> int:
        """Drop at least ``size`` bytes from the head of one queue; how many items those were."""
        freed = dropped = 0
        while freed < size:
            query = select(outbox.c.id, func.length(outbox.c.payload).label("size"))
            oldest = query.where(outbox.c.exporter == queue.number).order_by(outbox.c.id).limit(1)
            # In a cluster another replica may be about to take it.
            row = tx.execute(oldest.with_for_update(skip_locked=True)).first()
            taken = None if row is None else _take(tx, row.id)
            if row is None or taken is None:
                break
            move(tx, queue, overflowed=taken.items)
            freed, dropped = freed + row.size, dropped + taken.items
        return dropped

    def ledger(self, queue: QueueId) -> Ledger:
        """What became of everything that was put in this queue."""
        return ledger_of(self._database, queue)


def new_queue(tx: Connection, name: str) -> QueueId:
    """A queue of this name, without a slot. Nobody else may make one meanwhile."""
    number: int = tx.execute(select(func.coalesce(func.max(exporter.c.id), -1) + 1)).scalar_one()
    tx.execute(exporter.insert().values(id=number, name=name))
    return QueueId(number)


def _take(tx: Connection, place: int) -> _Taken | None:
    """Delete the row, and account for it; None when it was gone already."""
    row = tx.execute(_TAKING, {"place": place}).first()
    if row is None:
        return None
    taken = _Taken(QueueId(row.exporter), row.partition, row.samples)
    move(tx, taken.queue, queued=-taken.items, queued_batches=-1, queued_bytes=-row.size)
    partitions.add(tx, taken.queue, taken.partition, -1)
    return taken
