"""Which part of an exporter's queue is whose, when many replicas deliver.

::

    experiment 7  -> partition 7:  batch 3, batch 9, ...     leased as a whole, by one replica at a time
    experiment 12 -> partition 12: batch 4, ...              leased by another one

Batches of one partition leave in their order, so that a platform never gets a later point of a series before an
earlier one; partitions go side by side. A lease ends when it is given back, or with the replica that holds it
(state/membership.py). On SQLite everything is in one partition, and no lease is needed.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, select, update

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.schema import partition as partitions
from mlflow_monitoring_exporter.state.statements import insert

#: Of a queue that is not divided.
UNDIVIDED = 0


def add(tx: Connection, queue: QueueId, partition: int, batches: int) -> None:
    """So many batches more wait in ``partition``, or less; part of the caller's transaction.

    To be called after the queue's ledger has moved: two transactions that take both take them in that order.
    """
    if partition == UNDIVIDED:
        return
    statement = insert(tx, partitions).values(exporter=queue.number, partition=partition, waiting=batches)
    more = {"waiting": partitions.c.waiting + statement.excluded.waiting}
    tx.execute(
        statement.on_conflict_do_update(index_elements=[partitions.c.exporter, partitions.c.partition], set_=more)
    )


class Partitions:
    """The leases of one replica, by its number."""

    def __init__(self, database: Database, replica: int) -> None:
        self._database = database
        self._replica = replica

    def lease(self, queue: QueueId) -> int | None:
        """The partition of this queue that was served longest ago, of those without an owner; None without any."""
        waiting = (partitions.c.exporter == queue.number) & partitions.c.owner.is_(None) & (partitions.c.waiting > 0)
        query = (
            select(partitions.c.partition).where(waiting).order_by(partitions.c.turn, partitions.c.partition).limit(1)
        )
        with self._database.read() as tx:  # nearly always nothing, which a reader finds out without a transaction
            if tx.execute(query).first() is None:
                return None
        with self._database.write() as tx:
            partition: int | None = tx.execute(query.with_for_update(skip_locked=True)).scalar()
            if partition is not None:
                mine = (partitions.c.exporter == queue.number) & (partitions.c.partition == partition)
                tx.execute(update(partitions).where(mine).values(owner=self._replica))
        return partition

    def give_back(self, queue: QueueId, partition: int) -> None:
        """Release it to other replicas, behind all others."""
        mine = (
            (partitions.c.exporter == queue.number)
            & (partitions.c.partition == partition)
            & (partitions.c.owner == self._replica)
        )
        with self._database.write() as tx:
            tx.execute(update(partitions).where(mine).values(owner=None, turn=time.time_ns()))
