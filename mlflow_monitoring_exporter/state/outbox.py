"""Samples that are on their way to exporters: what the payloads in their queues mean.

A sample leaves its queue once it was delivered, dead-lettered or dropped (state/payload_queue.py); how a batch lies in
it says state/batch_codec.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.values import Batch, Sample
from mlflow_monitoring_exporter.state.batch_codec import freeze, frozen_part, thaw
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import Ledger
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.state.payload import Refusal
from mlflow_monitoring_exporter.state.payload_queue import PayloadQueue
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.registration import Registration


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """The batch at the head of a queue, and its place there."""

    place: int
    batch: Batch


class Outbox:
    """The queues of all EVERY exporters. Usable from every thread."""

    def __init__(self, database: Database) -> None:
        self._registration = Registration(database)
        self._queues = PayloadQueue(database)

    def register(
        self, names: Iterable[str], *, since_ms: int | None = None, selections: Mapping[str, str] | None = None
    ) -> Mapping[str, QueueId]:
        """The queue of each of these exporters: :meth:`Registration.register`."""
        return self._registration.register(names, since_ms=since_ms, selections=selections or {})

    @staticmethod
    def enqueue(
        tx: Connection, queue: QueueId, samples: Sequence[Sample], *, batch_size: int, partition: int = UNDIVIDED
    ) -> None:
        """Queue ``samples`` for one exporter as part of the caller's transaction."""
        payloads = freeze(samples, batch_size=batch_size, created_ms=now_ms())
        PayloadQueue.put(tx, queue, payloads, partition=partition)

    def head(self, queue: QueueId, partition: int | None = None, *, after: int = 0) -> QueuedBatch | None:
        """The oldest batch that waits for this exporter, or in one partition, behind ``after``; it stays queued."""
        queued = self._queues.head(queue, partition, after=after)
        return None if queued is None else QueuedBatch(queued.place, thaw(queued.payload))

    def acknowledge(self, queued: QueuedBatch) -> None:
        """The platform has it: delete it."""
        self._queues.acknowledge(queued.place)

    def set_aside(self, queued: QueuedBatch, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        """Move the samples at these indexes to the dead letters; the platform has the others."""
        dead = [(refusal, frozen_part(queued.batch, indexes)) for refusal, indexes in refusals.items()]
        self._queues.set_aside(queued.place, dead)

    @staticmethod
    def waiting_bytes(tx: Connection, queue: QueueId) -> int:
        """The size of one queue, as part of the caller's transaction."""
        return PayloadQueue.waiting_bytes(tx, queue)

    @staticmethod
    def drop_oldest(tx: Connection, queue: QueueId, size: int) -> int:
        """Drop at least ``size`` bytes from the head of one queue; how many samples those were."""
        return PayloadQueue.drop_oldest(tx, queue, size)

    def ledger(self, queue: QueueId) -> Ledger:
        """What became of this exporter's samples."""
        return self._queues.ledger(queue)
