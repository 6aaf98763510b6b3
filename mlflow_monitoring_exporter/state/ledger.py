"""Where is every sample that was ever queued?

::

    enqueued = delivered + queued + dead + purged + overflowed        per exporter, at any instant

The figures lie beside the samples and move in the same transactions, so the law holds after a kill,
and one row answers a scrape however long the queue is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, select, update

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.schema import LEDGER, exporter, outbox


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of one exporter's samples. The first five are counted since the state file was made."""

    name: str
    enqueued: int
    delivered: int
    dead_lettered: int
    purged: int
    """Dead letters that an operator deleted."""
    overflowed: int
    """Dropped because the queue was full, where the operator chose that."""
    queued: int
    queued_batches: int
    queued_bytes: int
    dead: int
    """Samples that are dead letters now."""
    oldest_ms: int | None
    """When the oldest waiting batch was queued; None when nothing waits."""

    @property
    def balanced(self) -> bool:
        """Whether the law holds."""
        return self.enqueued == self.delivered + self.queued + self.dead + self.purged + self.overflowed


def move(tx: Connection, queue: QueueId, **changes: int) -> None:
    """Add to the figures of one queue, as part of the caller's transaction."""
    tx.execute(
        _moving(tuple(changes)), {f"more_{name}": change for name, change in changes.items()} | {"of": queue.number}
    )


@cache
def _moving(names: tuple[str, ...]) -> Update:
    """Made once: to put a statement together takes longer than to execute it."""
    changed = {name: exporter.c[name] + bindparam(f"more_{name}") for name in names}
    return update(exporter).where(exporter.c.id == bindparam("of")).values(changed)


def ledgers(database: Database) -> list[Ledger]:
    """Those of every queue that there ever was here, in one consistent view."""
    with database.read() as tx:
        return [Ledger(*row) for row in tx.execute(_ledgers())]


def ledger_of(database: Database, queue: QueueId) -> Ledger:
    """That of one queue."""
    with database.read() as tx:
        return Ledger(*tx.execute(_ledgers().where(exporter.c.id == queue.number)).one())


def _ledgers() -> Select[Any]:
    oldest = (
        select(outbox.c.created_ms)
        .where(outbox.c.exporter == exporter.c.id)
        .order_by(outbox.c.id)
        .limit(1)
        .scalar_subquery()
    )
    return select(exporter.c.name, *(exporter.c[name] for name in LEDGER), oldest).order_by(exporter.c.id)
