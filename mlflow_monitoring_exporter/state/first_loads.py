"""Which exporters are still given what there was before they came, and from which time on they want it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select, update

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.schema import exporter, first_load
from mlflow_monitoring_exporter.state.schema import server as tracking_server
from mlflow_monitoring_exporter.state.statements import alone, insert


class FirstLoads:
    """The first loads of all exporters with a queue. Usable from every thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self) -> Mapping[QueueId, int]:
        """Of each exporter whose first load is not over: from which time on it wants points, in ms."""
        here = exporter.c.since_ms.is_not(None) & exporter.c.slot.is_not(None)
        query = select(exporter.c.id, exporter.c.slot, exporter.c.since_ms).where(here)
        with self._database.read() as tx:
            return {QueueId(number, slot): since_ms for number, slot, since_ms in tx.execute(query)}

    def end(self, queues: Sequence[QueueId], *, server: str, servers: Collection[str]) -> None:
        """The first load of these from ``server`` is over: a tracking server by identity, one of ``servers``.

        Once it is so for all of them, whatever comes is new, however old it says it is.
        """
        numbers = [queue.number for queue in queues]
        with self._database.write() as tx:
            alone(tx, exporter)
            this = tx.execute(select(tracking_server.c.id).where(tracking_server.c.identity == server)).scalar_one()
            rows = [{"server": this, "exporter": number} for number in numbers]
            tx.execute(insert(tx, first_load).on_conflict_do_nothing(), rows)
            done: dict[int, set[str]] = {}
            query = select(first_load.c.exporter, tracking_server.c.identity).join(tracking_server)
            for number, identity in tx.execute(query.where(first_load.c.exporter.in_(numbers))):
                done.setdefault(number, set()).add(identity)
            over = [number for number, identities in done.items() if identities.issuperset(servers)]
            tx.execute(update(exporter).where(exporter.c.id.in_(over)).values(since_ms=None))
            tx.execute(first_load.delete().where(first_load.c.exporter.in_(over)))
