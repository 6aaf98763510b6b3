"""Which exporters are still given what there was before they came, and from which time on they want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet
from mlflow_monitoring_exporter.state.schema import exporter, meta
from mlflow_monitoring_exporter.state.statements import alone


class FirstLoads:
    """The first loads of all exporters with a queue. Usable from every thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self) -> Mapping[QueueId, int]:
        """Of each exporter whose first load is not over: from which time on it wants points, in ms."""
        query = select(exporter.c.bit, exporter.c.since_ms).where(exporter.c.since_ms.is_not(None))
        with self._database.read() as tx:
            return {QueueId(bit, bit): since_ms for bit, since_ms in tx.execute(query)}

    def end(self, queues: Sequence[QueueId], *, server: str, servers: Sequence[str]) -> None:
        """The first load of these from ``server`` is over.

        Once it is so for all ``servers``, whatever comes is new, however old it says it is.
        """
        key = "first loads of {}".format
        with self._database.write() as tx:
            alone(tx, exporter)
            names = [key(each) for each in servers]
            known = {name: int(value) for name, value in tx.execute(select(meta).where(meta.c.key.in_(names)))}
            done = known.get(key(server), 0) | int(QueueSet.of(queues))
            tx.execute(meta.delete().where(meta.c.key == key(server)))
            tx.execute(meta.insert().values(key=key(server), value=str(done)))
            known[key(server)] = done
            over = [q.number for q in queues if all(q in QueueSet(known.get(name, 0)) for name in names)]
            tx.execute(update(exporter).where(exporter.c.bit.in_(over)).values(since_ms=None))
