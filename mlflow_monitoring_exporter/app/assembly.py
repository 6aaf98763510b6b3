"""From a configuration to connected parts: the one place that knows them all.

::

    Config -> app/destinations.py -> Assembly: source, state, poller, workers
                                    ^          |
                                    |          +-- app/replica.py, when the state is shared
               app/daemon.py, app/export_once.py decide when it runs
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Self

import structlog

from mlflow_monitoring_exporter.app.analysis_gauges import AnalysisLoop
from mlflow_monitoring_exporter.app.destinations import Destination, queues, register
from mlflow_monitoring_exporter.app.membership import Polling, join
from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.app.self_monitoring import OwnedPage, Progress, Telemetry
from mlflow_monitoring_exporter.app.spool import open_spool
from mlflow_monitoring_exporter.app.tracking_servers import TrackingServer, open_tracking_server, share_of_gauges
from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig
from mlflow_monitoring_exporter.delivery.ledger_metrics import LedgerMetrics
from mlflow_monitoring_exporter.delivery.payload_source import PayloadSource, SnapshotSource
from mlflow_monitoring_exporter.delivery.retry_after import RetryAfter
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ScrapedExporter
from mlflow_monitoring_exporter.pipeline.dispatch import HandOut
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.pipeline.poll import Poller
from mlflow_monitoring_exporter.pipeline.queues import QueueEvents
from mlflow_monitoring_exporter.schedule.poll_job import STATE, PollJob, component_of
from mlflow_monitoring_exporter.schedule.poll_loop import PollLoop
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.backlog import Backlog
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.retry_times import RetryTimes
from mlflow_monitoring_exporter.telemetry.once import Once
from mlflow_monitoring_exporter.transform.merged_servers import MergedServers
from mlflow_monitoring_exporter.transform.projection import SnapshotProjection

_log = structlog.get_logger(__name__)

#: Polls that may fail or be late before MLflow counts as silent.
_PATIENCE = 3


class Assembly:
    """Everything that one configuration needs, connected and started but for its threads.

    Raises ConfigError and StateError; what was opened by then is closed again. With ``alone`` there may be no
    replica beside this one.
    """

    def __init__(
        self,
        config: Config,
        destinations: Sequence[Destination],
        telemetry: Telemetry,
        progress: Progress | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.config = config
        self.destinations = tuple(destinations)
        self.stopping = threading.Event()
        self._telemetry = telemetry
        self._progress = progress or Progress()
        self._sources: list[Source] = []
        #: Records that could not be read, by tracking server.
        self.skipped: Counter[MlflowConfig] = Counter()
        self._counting = threading.Lock()
        self._named = Once()
        with ExitStack() as opened:
            self._database, self._membership = join(config, telemetry, opened, alone=alone)
            database = self._database
            self.outbox = Outbox(database)
            self._queued = [d for d in destinations if d.mode is DeliveryMode.EVERY]
            self.queue_ids = register(self.outbox, config, self._queued)
            for destination in destinations:
                opened.callback(destination.exporter.close)
                destination.exporter.start()
                if isinstance(destination.exporter, ScrapedExporter):
                    shown = OwnedPage(destination.exporter, lambda: self._membership.shows)
                    telemetry.scraped.append(shown)
                    opened.callback(telemetry.scraped.remove, shown)
            ledger = LedgerMetrics(database, self.queue_ids, lambda: self._membership.counts)
            telemetry.metrics.registry.register(ledger)
            opened.callback(telemetry.metrics.registry.unregister, ledger)
            self.spool = open_spool(config, telemetry.metrics, lambda: self._membership.counts, opened)
            self.analysis = AnalysisLoop(config, lambda: self._membership.counts, telemetry.metrics, opened)
            self.workers = Workers([self._worker(destination) for destination in destinations])
            self._gauges = MergedServers([server.name or "" for server in config.servers])
            self.tracked = tuple(TrackingServer(server, self._open_source(server, opened)) for server in config.servers)
            telemetry.metrics.links.clear()
            telemetry.metrics.links.labels(config.links.grafana or "", config.links.runbooks).set(1)
            telemetry.metrics.watch({t.server: (t.config.name or "", t.config.link) for t in self.tracked})
            self._opened = opened.pop_all()

    @property
    def where(self) -> str:
        """Where the state is, for people."""
        return self._database.where

    @property
    def components(self) -> set[str]:
        """What readiness is about: the state, each tracking server, each exporter, and what replicas have besides."""
        servers = (component_of(tracked.config.name or "") for tracked in self.tracked)
        exporters = self.workers.components
        return {STATE, *servers, *exporters, *self._membership.components}

    @property
    def servers(self) -> tuple[str, ...]:
        """The tracking servers by identity."""
        return tuple(tracked.server for tracked in self.tracked)

    def poller(self, tracked: TrackingServer, hand_out: HandOut | None = None) -> Poller:
        """What polls a tracking server; with ``hand_out`` others read the points of histories."""
        return build_poller(
            tracked.source,
            self.config.export,
            gauges=share_of_gauges(self.config, tracked.config),
            database=self._database,
            queues=queues(self.config, self._queued, self.queue_ids),
            events=self._events(tracked),
            stop=self.stopping,
            hand_out=hand_out,
            servers=self.servers,
        )

    def polling(self, on_broken: Callable[[], None]) -> Polling:
        """When MLflow is polled, and by whom; not started.

        ``on_broken`` hears that everything has to be assembled anew: the state file is damaged, or the other
        lease of this replica expired.
        """
        return self._membership.polling(
            {tracked.server: _Roles(self, tracked, on_broken) for tracked in self.tracked},
            wake=self.workers.wake,
            on_expired=on_broken,
        )

    def cut(self) -> None:
        """End what MLflow is being asked, once ``stopping`` is set; from any thread."""
        for source in tuple(self._sources):
            source.cut()

    def give_back(self) -> None:
        """Return the room of what was delivered to the disk, for a second at most."""
        until = time.monotonic() + 1.0
        while time.monotonic() < until and self._database.give_back():
            pass

    def close(self) -> None:
        """Release everything. Threads of the workers must have ended."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_source(self, server: MlflowConfig, opened: ExitStack) -> Source:
        source = open_tracking_server(
            self.config, server, stop=self.stopping, on_skipped=lambda item, reason: self._skipped(server, item, reason)
        ).source
        opened.callback(source.close)
        self._sources.append(source)
        return source

    def enqueuer(self, tracked: TrackingServer) -> Enqueuer:
        """What collects experiments; with a source of its own, for one is used by one thread at a time."""
        source = self._open_source(tracked.config, self._opened)
        return Enqueuer(
            source,
            database=self._database,
            backlog=Backlog(self._database, Mirror(self._database, source.server)),
            queues=queues(self.config, self._queued, self.queue_ids),
            history=self.config.export.history,
            events=QueueEvents(self.workers.wake, self._telemetry.metrics.read.inc, self._progress.series),
            stop=self.stopping,
            divided=True,
            servers=self.servers,
        )

    def poll_loop(self, tracked: TrackingServer, hand_out: HandOut | None, on_damaged: Callable[[], None]) -> PollLoop:
        """What polls a tracking server again and again; not started."""
        export = self.config.export
        job = PollJob(
            self.poller(tracked, hand_out),
            server=tracked.server,
            name=tracked.config.name or "",
            # Timers and polls are never quite on time.
            whole=export.interval - export.between_polls / 2,
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
            patience=_PATIENCE * (export.interval + export.jitter) + tracked.config.timeout,
            on_damaged=on_damaged,
        )
        return PollLoop(job, interval=export.between_polls, jitter=export.jitter)

    def released(self, tracked: TrackingServer) -> None:
        """Another replica owns this one now."""
        self.workers.publish(self._gauges.drop(tracked.config.name or ""))
        self._telemetry.metrics.forget(tracked.server)

    def _events(self, tracked: TrackingServer) -> PollEvents:
        shown = any(destination.mode is DeliveryMode.LATEST for destination in self.destinations)
        metrics, name = self._telemetry.metrics, tracked.config.name or ""
        return PollEvents(
            published=(lambda snapshot: self.workers.publish(self._gauges.put(name, snapshot))) if shown else None,
            queued=self.workers.wake,
            read=metrics.read.inc,
            loading=lambda runs: self._loading(tracked, runs),
            sending=self._progress.series,
            behind=lambda experiments: metrics.found(tracked.server, behind=experiments),
        )

    def _loading(self, tracked: TrackingServer, runs: int) -> None:
        self._telemetry.metrics.loading(tracked.server)
        self._progress.runs(runs)

    def _worker(self, destination: Destination) -> Worker:
        return Worker(
            destination.name,
            destination.exporter,
            self._feed(destination),
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
            retry_after=RetryAfter(destination.name, destination.target, RetryTimes(self._database)),
        )

    def _feed(self, destination: Destination) -> PayloadSource:
        if destination.mode is DeliveryMode.LATEST:
            return SnapshotSource(
                SnapshotProjection(destination.config.select).of, owned=lambda: self._membership.shows
            )
        return self._membership.payloads(self.outbox, self.queue_ids[destination.name])

    def _skipped(self, server: MlflowConfig, item: str, reason: str) -> None:
        """Each record is counted as often as it is met, and named once. Called by several threads."""
        with self._counting:
            self.skipped[server] += 1
        self._telemetry.metrics.skipped.inc()
        if self._named.first(server.tracking_uri, item, reason):
            _log.warning("MLflow record skipped", item=item, reason=reason)
            if self._named.full:
                _log.warning("further skipped MLflow records are counted but no longer logged")


class _Roles:
    """What a replica may be to one tracking server."""

    def __init__(self, assembly: Assembly, tracked: TrackingServer, on_damaged: Callable[[], None]) -> None:
        self._assembly = assembly
        self._tracked = tracked
        self._on_damaged = on_damaged
        self.component = component_of(tracked.config.name or "")

    def poll_loop(self, hand_out: HandOut | None) -> PollLoop:
        return self._assembly.poll_loop(self._tracked, hand_out, self._on_damaged)

    def enqueuer(self) -> Enqueuer:
        return self._assembly.enqueuer(self._tracked)

    def released(self) -> None:
        self._assembly.released(self._tracked)
