"""Which part of an exporter's queue is whose, when many replicas deliver.

::

    experiment 7  -> lane 7:  batch 3, batch 9, ...     leased as a whole, by one replica at a time
    experiment 12 -> lane 12: batch 4, ...              leased by another one

Batches of one lane leave in their order, so that a platform never gets a later point of a series before an
earlier one; lanes go side by side. A lease ends when it is given back, or with the replica that holds it
(state/membership.py). On SQLite everything is in one lane, and no lease is needed.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, select, update

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import lane as lanes
from mlflow_monitoring_exporter.state.statements import insert

#: Of a queue that is not divided.
NO_LANE = 0


def add(tx: Connection, bit: int, lane: int, batches: int) -> None:
    """So many batches more wait in ``lane``, or less; part of the caller's transaction.

    To be called after the exporter's ledger has moved: two transactions that take both take them in that order.
    """
    if lane == NO_LANE:
        return
    statement = insert(tx, lanes).values(exporter=bit, lane=lane, waiting=batches)
    more = {"waiting": lanes.c.waiting + statement.excluded.waiting}
    tx.execute(statement.on_conflict_do_update(index_elements=["exporter", "lane"], set_=more))


class Partitions:
    """The leases of one replica, by its number."""

    def __init__(self, database: Database, replica: int) -> None:
        self._database = database
        self._replica = replica

    def lease(self, bit: int) -> int | None:
        """The lane of this exporter that was served longest ago, of those without an owner; None without any."""
        waiting = (lanes.c.exporter == bit) & lanes.c.owner.is_(None) & (lanes.c.waiting > 0)
        query = select(lanes.c.lane).where(waiting).order_by(lanes.c.turn, lanes.c.lane).limit(1)
        with self._database.read() as tx:  # nearly always nothing, which a reader finds out without a transaction
            if tx.execute(query).first() is None:
                return None
        with self._database.write() as tx:
            lane: int | None = tx.execute(query.with_for_update(skip_locked=True)).scalar()
            if lane is not None:
                mine = (lanes.c.exporter == bit) & (lanes.c.lane == lane)
                tx.execute(update(lanes).where(mine).values(owner=self._replica))
        return lane

    def give_back(self, bit: int, lane: int) -> None:
        """Release it to other replicas, behind all others."""
        mine = (lanes.c.exporter == bit) & (lanes.c.lane == lane) & (lanes.c.owner == self._replica)
        with self._database.write() as tx:
            tx.execute(update(lanes).where(mine).values(owner=None, turn=time.time_ns()))
