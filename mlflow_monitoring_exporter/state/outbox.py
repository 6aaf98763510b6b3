"""Samples that are on their way.

::

    enqueue (in the poll's transaction) --> head --> acknowledge     deleted: the platform has it
                                              |
                                              +----> set_aside       moved to the dead letters

Batches leave in the order in which they were queued, per exporter. One is deleted only after the
platform acknowledged it, so a kill at any instant repeats a delivery at worst, with the same
batch id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from mlflow_monitoring_exporter.errors import StateError
from mlflow_monitoring_exporter.model import Batch, Sample
from mlflow_monitoring_exporter.state.codec import batch_id, encode, freeze, thaw
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import dead_letter, exporter, outbox

#: Bits of a signed 64-bit mask.
_MOST_EXPORTERS = 62


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one exporter, and since when (milliseconds; None when nothing waits)."""

    batches: int
    samples: int
    oldest_ms: int | None
    dead_samples: int


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """The batch at the head of a queue, and its place there."""

    place: int
    batch: Batch


class Outbox:
    """The queues of all EVERY exporters. Usable from every thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, names: Iterable[str]) -> Mapping[str, int]:
        """Each exporter's bit; a name keeps its bit for ever."""
        names = tuple(names)
        with self._database.write() as tx:
            bits: dict[str, int] = {name: bit for bit, name in tx.execute(select(exporter.c.bit, exporter.c.name))}
            for name in names:
                if name not in bits:
                    bit = len(bits)
                    if bit > _MOST_EXPORTERS:
                        raise StateError(
                            f"the state file knows {bit} exporters by name, which is the most it can hold: "
                            "reuse an old name, or move the file aside to start afresh"
                        )
                    tx.execute(exporter.insert().values(bit=bit, name=name))
                    bits[name] = bit
        return {name: bits[name] for name in names}

    @staticmethod
    def enqueue(tx: Connection, bit: int, samples: Sequence[Sample], *, batch_size: int) -> None:
        """Queue ``samples`` for one exporter as part of the caller's transaction."""
        created_ms = time.time_ns() // 1_000_000
        rows = [
            {
                "exporter": bit,
                "batch_id": batch.batch_id,
                "created_ms": created_ms,
                "samples": len(batch.samples),
                "payload": payload,
            }
            for batch, payload in freeze(samples, batch_size=batch_size, created_ms=created_ms)
        ]
        if rows:
            tx.execute(outbox.insert(), rows)

    def head(self, bit: int) -> QueuedBatch | None:
        """The oldest batch that waits for this exporter; it stays queued."""
        query = (
            select(outbox.c.id, outbox.c.batch_id, outbox.c.created_ms, outbox.c.payload)
            .where(outbox.c.exporter == bit)
            .order_by(outbox.c.id)
            .limit(1)
        )
        with self._database.read() as tx:
            row = tx.execute(query).first()
        if row is None:
            return None
        return QueuedBatch(row.id, next(thaw([(row.batch_id, row.created_ms, row.payload)])))

    def acknowledge(self, queued: QueuedBatch) -> None:
        """The platform has it: delete it."""
        with self._database.write() as tx:
            tx.execute(outbox.delete().where(outbox.c.id == queued.place))

    def set_aside(self, queued: QueuedBatch, reason: str, rejected: Sequence[int] | None = None) -> None:
        """Move the batch, or only its samples at the indexes ``rejected``, to the dead letters."""
        batch = queued.batch
        samples = batch.samples if rejected is None else [batch.samples[index] for index in rejected]
        payload = encode(samples)
        with self._database.write() as tx:
            row = tx.execute(outbox.delete().where(outbox.c.id == queued.place).returning(outbox.c.exporter)).first()
            if row is None or not samples:
                return
            tx.execute(
                dead_letter.insert().values(
                    exporter=row.exporter,
                    batch_id=batch.batch_id if rejected is None else batch_id(payload, batch.created_ms),
                    created_ms=batch.created_ms,
                    died_ms=time.time_ns() // 1_000_000,
                    reason=reason,
                    samples=len(samples),
                    payload=payload,
                )
            )

    def backlog(self, bit: int) -> Backlog:
        """How much waits for this exporter, and how much was set aside."""
        waiting = select(
            func.count(), func.coalesce(func.sum(outbox.c.samples), 0), func.min(outbox.c.created_ms)
        ).where(outbox.c.exporter == bit)
        dead = select(func.coalesce(func.sum(dead_letter.c.samples), 0)).where(dead_letter.c.exporter == bit)
        with self._database.read() as tx:
            batches, samples, oldest = tx.execute(waiting).one()
            return Backlog(batches, samples, oldest, tx.execute(dead).scalar_one())
