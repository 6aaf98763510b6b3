"""For how long does a platform want to be left alone? Kept beside its queue, for whoever delivers next.

The times are the database's own where many daemons share it. A clock that was set between two looks can end a pause
early, and can make none longer than it was asked to be: what is left is never more than the time from ``asked_ms`` to
``until_ms``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import retry_time
from mlflow_monitoring_exporter.state.statements import insert, now_of


@dataclass(frozen=True, slots=True)
class RetryTime:
    """How many seconds are left, what the platform said, and what tells this pause from the one before."""

    seconds: float
    reason: str
    number: int = 0


class RetryTimes:
    """The pauses of all exporters, by their names. Usable from every thread; raises StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def shared(self) -> bool:
        """Whether others may write here, too."""
        return self._database.divided

    def put(self, name: str, target: str, pause: RetryTime) -> int:
        """The platform at ``target`` asked for this just now. The number that it gets."""
        with self._database.write() as tx:
            now = now_of(tx)
            until = now + round(pause.seconds * 1000)
            values = {"target": target, "asked_ms": now, "until_ms": until, "reason": pause.reason}
            statement = insert(tx, retry_time).values(exporter=name, **values)
            tx.execute(statement.on_conflict_do_update(index_elements=["exporter"], set_=values))
        return until

    def get(self, name: str, target: str) -> RetryTime | None:
        """What is left of it; None when it is over, or another platform asked for it."""
        with self._database.read() as tx:
            kept = tx.execute(
                select(retry_time).where(retry_time.c.exporter == name, retry_time.c.target == target)
            ).first()
            if kept is None:
                return None
            left = min(kept.until_ms - now_of(tx), kept.until_ms - kept.asked_ms)
        return RetryTime(left / 1000, kept.reason, kept.until_ms) if left > 0 else None

    def drop(self, name: str) -> None:
        """It is over."""
        with self._database.write() as tx:
            tx.execute(retry_time.delete().where(retry_time.c.exporter == name))
