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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.core.values import Batch, Sample
from mlflow_monitoring_exporter.state import partitions
from mlflow_monitoring_exporter.state.batch_codec import encode, freeze, part, thaw
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import Ledger, ledgers, move
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.state.schema import dead_letter, exporter, meta, outbox, series
from mlflow_monitoring_exporter.state.statements import alone

#: Bits of a signed 64-bit mask.
_MOST_EXPORTERS = 62


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """The batch at the head of a queue, and its place there."""

    place: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a platform will never take some samples: for people, and an HTTP status if there was one.

    ``first_ms`` is when they were first tried.
    """

    reason: str
    status: int | None
    first_ms: int


class Outbox:
    """The queues of all EVERY exporters. Usable from every thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, names: Iterable[str], *, since_ms: int | None = None, selections: Mapping[str, str] | None = None
    ) -> Mapping[str, int]:
        """Each exporter's bit; a name keeps its bit for ever.

        The first load of one that is new here leaves out points that are older than ``since_ms``. One whose
        ``selections``, anything that tells them apart, are others than before counts as having the whole of no
        series: what it has by then is known by point.
        """
        names = tuple(names)
        with self._database.write() as tx:
            alone(tx, exporter)
            bits: dict[str, int] = {name: bit for bit, name in tx.execute(select(exporter.c.bit, exporter.c.name))}
            for name in names:
                if name not in bits:
                    bit = len(bits)
                    if bit > _MOST_EXPORTERS:
                        raise StateError(
                            f"the state file knows {bit} exporters by name, which is the most it can hold: "
                            "reuse an old name, or move the file aside to start afresh"
                        )
                    tx.execute(exporter.insert().values(bit=bit, name=name, since_ms=since_ms))
                    bits[name] = bit
            for name in names:
                self._reselect(tx, name, bits[name], (selections or {}).get(name, ""))
        return {name: bits[name] for name in names}

    @staticmethod
    def _reselect(tx: Connection, name: str, bit: int, selection: str) -> None:
        key = f"selection of {name}"
        known = tx.execute(select(meta.c.value).where(meta.c.key == key)).scalar() or ""
        if known == selection:
            return
        tx.execute(meta.delete().where(meta.c.key == key))
        tx.execute(meta.insert().values(key=key, value=selection))
        others = ~(1 << bit)
        cleared = {"mask": series.c.mask.bitwise_and(others), "base": series.c.base.bitwise_and(others)}
        tx.execute(update(series).values({**cleared, "revision": series.c.revision + 1}))

    def first_loads(self) -> Mapping[int, int]:
        """Of each exporter whose first load is not over, by bit: from which time on it wants points."""
        query = select(exporter.c.bit, exporter.c.since_ms).where(exporter.c.since_ms.is_not(None))
        with self._database.read() as tx:
            return {bit: since_ms for bit, since_ms in tx.execute(query)}  # noqa: C416 - dict(result) is not typed

    def loaded(self, bits: Sequence[int], *, server: str, servers: Sequence[str]) -> None:
        """The first load of these from ``server`` is over.

        Once it is so for all ``servers``, whatever comes is new, however old it says it is.
        """
        key = "first loads of {}".format
        with self._database.write() as tx:
            alone(tx, exporter)
            names = [key(each) for each in servers]
            known = {name: int(value) for name, value in tx.execute(select(meta).where(meta.c.key.in_(names)))}
            done = known.get(key(server), 0) | sum(1 << bit for bit in bits)
            tx.execute(meta.delete().where(meta.c.key == key(server)))
            tx.execute(meta.insert().values(key=key(server), value=str(done)))
            known[key(server)] = done
            over = [bit for bit in bits if all(known.get(name, 0) >> bit & 1 for name in names)]
            tx.execute(update(exporter).where(exporter.c.bit.in_(over)).values(since_ms=None))

    @staticmethod
    def enqueue(
        tx: Connection, bit: int, samples: Sequence[Sample], *, batch_size: int, partition: int = UNDIVIDED
    ) -> None:
        """Queue ``samples`` for one exporter as part of the caller's transaction."""
        created_ms = now_ms()
        frozen = list(freeze(samples, batch_size=batch_size, created_ms=created_ms))
        if not frozen:
            return
        rows = [
            {
                "exporter": bit,
                "partition": partition,
                "batch_id": batch.batch_id,
                "created_ms": created_ms,
                "samples": len(batch.samples),
                "payload": payload,
            }
            for batch, payload in frozen
        ]
        tx.execute(outbox.insert(), rows)
        count, size = len(samples), sum(len(payload) for _, payload in frozen)
        move(tx, bit, enqueued=count, queued=count, queued_batches=len(rows), queued_bytes=size)
        partitions.add(tx, bit, partition, len(rows))

    def head(self, bit: int, partition: int | None = None, *, after: int = 0) -> QueuedBatch | None:
        """The oldest batch that waits for this exporter, or in one partition, behind ``after``; it stays queued."""
        query = (
            select(outbox.c.id, outbox.c.batch_id, outbox.c.created_ms, outbox.c.payload)
            .where(outbox.c.exporter == bit)
            .order_by(outbox.c.id)
            .limit(1)
        )
        if partition is not None:
            query = query.where(outbox.c.partition == partition)
        if after:
            query = query.where(outbox.c.id > after)
        with self._database.read() as tx:
            row = tx.execute(query).first()
        if row is None:
            return None
        return QueuedBatch(row.id, next(thaw([(row.batch_id, row.created_ms, row.payload)])))

    def acknowledge(self, queued: QueuedBatch) -> None:
        """The platform has it: delete it."""
        with self._database.write() as tx:
            taken = self._take(tx, queued)
            if taken is not None:
                move(tx, taken[0], delivered=len(queued.batch.samples))

    def set_aside(self, queued: QueuedBatch, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        """Move the samples at these indexes to the dead letters; the platform has the others."""
        with self._database.write() as tx:
            taken = self._take(tx, queued)
            if taken is None:
                return
            bit, dead = taken[0], 0
            for refusal, indexes in refusals.items():
                self._bury(tx, taken, queued.batch, refusal, indexes)
                dead += len(indexes)
            move(tx, bit, dead_lettered=dead, dead=dead, delivered=len(queued.batch.samples) - dead)

    @staticmethod
    def waiting_bytes(tx: Connection, bit: int) -> int:
        """The size of one queue, as part of the caller's transaction."""
        size: int = tx.execute(select(exporter.c.queued_bytes).where(exporter.c.bit == bit)).scalar_one()
        return size

    @staticmethod
    def drop_oldest(tx: Connection, bit: int, size: int) -> int:
        """Drop at least ``size`` bytes from the head of one queue; how many samples those were."""
        freed = dropped = 0
        while freed < size:
            query = select(outbox.c.id, outbox.c.samples, outbox.c.partition, func.length(outbox.c.payload))
            oldest = query.where(outbox.c.exporter == bit).order_by(outbox.c.id).limit(1)
            # In a cluster another replica may be about to take it.
            row = tx.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                break
            place, samples, partition, length = row
            tx.execute(outbox.delete().where(outbox.c.id == place))
            move(tx, bit, queued=-samples, queued_batches=-1, queued_bytes=-length, overflowed=samples)
            partitions.add(tx, bit, partition, -1)
            freed, dropped = freed + length, dropped + samples
        return dropped

    def ledger(self, bit: int) -> Ledger:
        """What became of this exporter's samples."""
        with self._database.read() as tx:
            name = tx.execute(select(exporter.c.name).where(exporter.c.bit == bit)).scalar_one()
        return next(ledger for ledger in ledgers(self._database) if ledger.name == name)

    @staticmethod
    def _take(tx: Connection, queued: QueuedBatch) -> tuple[int, int] | None:
        """Delete the row; its exporter's bit and its partition, None when it was gone already."""
        size = func.length(outbox.c.payload).label("size")
        gone = outbox.delete().where(outbox.c.id == queued.place).returning(outbox.c.exporter, outbox.c.partition, size)
        row = tx.execute(gone).first()
        if row is None:
            return None
        move(tx, row.exporter, queued=-len(queued.batch.samples), queued_batches=-1, queued_bytes=-row.size)
        partitions.add(tx, row.exporter, row.partition, -1)
        return row.exporter, row.partition

    @staticmethod
    def _bury(tx: Connection, whose: tuple[int, int], batch: Batch, refusal: Refusal, indexes: Sequence[int]) -> None:
        bit, partition = whose
        dead = part(batch, indexes)
        tx.execute(
            dead_letter.insert().values(
                exporter=bit,
                partition=partition,
                batch_id=dead.batch_id,
                created_ms=batch.created_ms,
                first_ms=refusal.first_ms,
                last_ms=now_ms(),
                status=refusal.status,
                reason=refusal.reason,
                samples=len(dead.samples),
                payload=encode(dead.samples),
            )
        )
