"""Membership of a process that shares its state with other replicas: leases, partitions, and jobs for all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

from mlflow_monitoring_exporter.cluster.collect_job import CollectJob
from mlflow_monitoring_exporter.cluster.heartbeat import Heartbeat
from mlflow_monitoring_exporter.cluster.job_queue import CollectWorkers, hand_out
from mlflow_monitoring_exporter.cluster.ownership import Ownership
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.delivery.payload_source import PartitionSource, PayloadSource
from mlflow_monitoring_exporter.schedule.poll_job import OF_REPLICAS
from mlflow_monitoring_exporter.schedule.poll_loop import Roles
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.membership import ReplicaTable
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.partitions import Partitions
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

#: Experiments that one replica collects at a time: while one waits for MLflow, another one computes.
_COLLECTORS = 2


class Replica:
    """This process as one of the replicas, from construction until :meth:`leave` or death.

    Raises StateError when it is to be ``alone``, and there is another one.
    """

    components = frozenset(OF_REPLICAS)

    def __init__(
        self, config: Config, database: Database, *, readiness: Readiness, metrics: SelfMetrics, alone: bool
    ) -> None:
        self._config = config
        self._database = database
        self._readiness = readiness
        self._metrics = metrics
        self._cluster: Ownership | None = None
        self._replicas = ReplicaTable(database, lease=config.state.lease)
        self._replicas.join(f"{socket.gethostname()}/{os.getpid()}", alone=alone)
        self._heartbeat = Heartbeat(self._replicas, lease=config.state.lease)
        self._heartbeat.start()

    @property
    def shows(self) -> bool:
        """Whether gauges are this replica's to show."""
        return self._cluster is None or self._cluster.shows

    @property
    def counts(self) -> bool:
        """Whether this replica says what they all share."""
        return self._cluster is None or self._cluster.counts

    def payloads(self, outbox: Outbox, queue: QueueId) -> PayloadSource:
        """What this replica delivers of an exporter's queue."""
        return PartitionSource(
            outbox, queue, Partitions(self._database, self._replicas.me), lambda: self._heartbeat.holds_lease
        )

    def polling(
        self, servers: Mapping[str, Roles], *, wake: Callable[[], None], on_expired: Callable[[], None]
    ) -> Ownership:
        """Polls these tracking servers, by identity, when it is this replica's turn, and collects from all."""
        database, lease = self._database, self._config.state.lease
        self._replicas.introduce(servers)

        def again(server: str, experiment: int, wanted: QueueSet) -> None:
            with database.write() as tx:
                hand_out(server, tx, [experiment], wanted)

        job = CollectJob(
            {server: roles.enqueuer for server, roles in servers.items()},
            longest=self._config.export.interval,
            again=again,
            metrics=self._metrics,
            readiness=self._readiness,
        )
        self._cluster = Ownership(
            self._replicas,
            self._heartbeat,
            servers,
            CollectWorkers(
                lambda: database.server.conninfo, job, at_once=_COLLECTORS, lease=lease, readiness=self._readiness
            ),
            readiness=self._readiness,
            metrics=self._metrics,
            wake=wake,
            rejoin=on_expired,
        )
        return self._cluster

    def leave(self) -> None:
        """Give everything back: what this replica was to do is done by the others."""
        self._heartbeat.stop()
        with suppress(StateError):
            self._replicas.leave()
