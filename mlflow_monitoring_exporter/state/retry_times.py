"""For how long does a platform want to be left alone? Kept beside its queue, for whoever delivers next.

A row of ``meta`` for each exporter that was asked to wait: ``pause of <name>``, with a JSON object
``{"target", "asked_ms", "until_ms", "reason"}``. The times are the database's own where many daemons share
it. A clock that was set between two looks can end a pause early, and can make none longer than it was
asked to be: what is left is never more than the time from ``asked_ms`` to ``until_ms``.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, func, select

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import meta
from mlflow_monitoring_exporter.state.statements import insert


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
            now = _now(tx)
            until = now + round(pause.seconds * 1000)
            value = {"target": target, "asked_ms": now, "until_ms": until, "reason": pause.reason}
            statement = insert(tx, meta).values(key=_key(name), value=orjson.dumps(value).decode())
            tx.execute(
                statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value})
            )
        return until

    def get(self, name: str, target: str) -> RetryTime | None:
        """What is left of it; None when it is over, or another platform asked for it."""
        with self._database.read() as tx:
            value = tx.execute(select(meta.c.value).where(meta.c.key == _key(name))).scalar()
            if value is None:
                return None
            kept = orjson.loads(value)
            left = min(kept["until_ms"] - _now(tx), kept["until_ms"] - kept["asked_ms"])
        if kept["target"] != target or left <= 0:
            return None
        return RetryTime(left / 1000, kept["reason"], kept["until_ms"])

    def drop(self, name: str) -> None:
        """It is over."""
        with self._database.write() as tx:
            tx.execute(meta.delete().where(meta.c.key == _key(name)))


def _key(name: str) -> str:
    return f"pause of {name}"


def _now(tx: Connection) -> int:
    if tx.dialect.name == "postgresql":
        now: int = tx.execute(select(func.floor(func.extract("epoch", func.clock_timestamp()) * 1000))).scalar_one()
        return int(now)
    return now_ms()
