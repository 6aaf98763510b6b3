"""What a platform permanently rejected: inspect, replay or delete it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from mlflow_monitoring_exporter.state import partitions
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import move
from mlflow_monitoring_exporter.state.payload import Payload
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.schema import dead_letter, exporter, outbox


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. Times are milliseconds since the epoch; ``status`` is that of an HTTP answer."""

    number: int
    exporter: str
    samples: int
    created_ms: int
    first_ms: int
    last_ms: int
    status: int | None
    reason: str


class DeadLetters:
    """All dead letters of a state database. Safe beside a running daemon."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""
        query = (
            select(
                *(dead_letter.c.id, exporter.c.name, dead_letter.c.samples, dead_letter.c.created_ms),
                *(dead_letter.c.first_ms, dead_letter.c.last_ms, dead_letter.c.status, dead_letter.c.reason),
            )
            .join(exporter, exporter.c.id == dead_letter.c.exporter)
            .order_by(dead_letter.c.id)
        )
        with self._database.read() as tx:
            return [DeadLetter(*row) for row in tx.execute(query)]

    def payload(self, number: int) -> Payload | None:
        """What is in it; None when there is no such dead letter."""
        columns = (dead_letter.c.batch_id, dead_letter.c.created_ms, dead_letter.c.samples, dead_letter.c.payload)
        with self._database.read() as tx:
            row = tx.execute(select(*columns).where(dead_letter.c.id == number)).first()
        return None if row is None else Payload(*row)

    def replay(self, numbers: Sequence[int]) -> int:
        """Queue these again, at the end, under the same batch ids; how many samples that is."""
        moved = 0
        with self._database.write() as tx:
            for row in self._take(tx, numbers):
                tx.execute(
                    outbox.insert().values(
                        exporter=row.exporter,
                        partition=row.partition,
                        batch_id=row.batch_id,
                        created_ms=row.created_ms,
                        samples=row.samples,
                        payload=row.payload,
                    )
                )
                queue, size = QueueId(row.exporter), len(row.payload)
                move(tx, queue, dead=-row.samples, queued=row.samples, queued_batches=1, queued_bytes=size)
                partitions.add(tx, queue, row.partition, 1)
                moved += row.samples
        return moved

    def purge(self, numbers: Sequence[int]) -> int:
        """Delete these; how many samples are lost with them."""
        lost = 0
        with self._database.write() as tx:
            for row in self._take(tx, numbers):
                move(tx, QueueId(row.exporter), dead=-row.samples, purged=row.samples)
                lost += row.samples
        return lost

    @staticmethod
    def _take(tx: Connection, numbers: Sequence[int]) -> list[Row[Any]]:
        """Delete these, and return them in this order; what is not there is left out."""
        found = []
        for number in numbers:
            row = tx.execute(dead_letter.delete().where(dead_letter.c.id == number).returning(*dead_letter.c)).first()
            if row is not None:
                found.append(row)
        return found
