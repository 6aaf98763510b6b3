"""What the one replica that polls a tracking server does about histories: it has them collected, by any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from mlflow_monitoring_exporter.pipeline.queues import EnqueueReport
from mlflow_monitoring_exporter.state.backlog import Backlog
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.queue_id import QueueSet

#: Part of a transaction: see to it that these experiments are collected for these queues.
HandOut = Callable[[Connection, Sequence[int], QueueSet], None]


class JobDispatch:
    """One job for each experiment with points that some exporter of ours may not have.

    ``server`` is the identity of their tracking server, one of ``servers``. ``behind`` hears how many there are.
    """

    def __init__(
        self,
        database: Database,
        backlog: Backlog,
        wanted: QueueSet,
        hand_out: HandOut,
        *,
        behind: Callable[[int], None],
        server: str,
        servers: Sequence[str],
    ) -> None:
        self._database = database
        self._backlog = backlog
        self._wanted = wanted
        self._hand_out = hand_out
        self._behind = behind
        self._first_loads = FirstLoads(database)
        self._server = server
        self._servers = servers

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        self._backlog.expect(self._wanted)

    def run(self, *, until: float | None = None) -> EnqueueReport:  # handing out takes no time
        """Hand out what is pending; who collects it says what was queued."""
        experiments = self._backlog.experiments(self._wanted)
        self._behind(len(experiments))
        if experiments:
            with self._database.write() as tx:
                self._hand_out(tx, experiments, self._wanted)
        elif first := [queue for queue in self._first_loads.since() if queue in self._wanted]:
            self._first_loads.end(first, server=self._server, servers=self._servers)
        return EnqueueReport({}, (), unfinished=False)
