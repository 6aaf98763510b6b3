"""From a configuration to connected parts: the one place that knows them all.

::

    Config -> destinations.py -> Assembly: source, state, poller, workers
                                    ^          |
                                    |          +-- replication.py, when the state is shared
               daemon.py, oneshot.py decide when it runs
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig, StateConfig
from mlflow_monitoring_exporter.delivery.feed import Feed, LatestFeed, QueueFeed
from mlflow_monitoring_exporter.delivery.ledger import LedgerCollector
from mlflow_monitoring_exporter.delivery.rest import Rest
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.destinations import Destination, queues, register
from mlflow_monitoring_exporter.errors import StateCorruptError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ScrapedExporter
from mlflow_monitoring_exporter.process import Progress, Shown, Telemetry
from mlflow_monitoring_exporter.schedule.dispatch import HandOut
from mlflow_monitoring_exporter.schedule.job import PollJob, component_of
from mlflow_monitoring_exporter.schedule.poll import Poller, PollEvents
from mlflow_monitoring_exporter.schedule.queueing import QueueEvents, Queueing
from mlflow_monitoring_exporter.schedule.watch import Watch, Watches
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.database import Database, is_shared
from mlflow_monitoring_exporter.state.file import StateLock, set_aside, state_path
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.pauses import Pauses
from mlflow_monitoring_exporter.state.pending import Pending
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.telemetry.once import Once
from mlflow_monitoring_exporter.tracked import Tracked, share_of_gauges
from mlflow_monitoring_exporter.transform.labels import AddedLabels
from mlflow_monitoring_exporter.transform.servers import Servers
from mlflow_monitoring_exporter.transform.view import SnapshotView

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.replication import Membership

_log = structlog.get_logger(__name__)

#: Polls that may fail or be late before MLflow counts as silent.
_PATIENCE = 3


class Polling(Protocol):
    """Whoever sees to it that MLflow is polled: one daemon on its own, or one replica of many."""

    def start(self) -> None: ...

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was. To be called every second or so."""
        ...

    @property
    def alone(self) -> bool:
        """Whether nobody else delivers what waits."""
        ...

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait so many seconds for what is under way; whether it ended."""
        ...


def _open_state(config: StateConfig, telemetry: Telemetry) -> Database:
    """The state database; a damaged file is set aside, and a new one begins."""
    password = config.secret("password").get
    try:
        database = Database(config.url, password)
    except StateCorruptError as error:
        aside = set_aside(state_path(config.url))
        telemetry.metrics.state_resets.inc()
        audit("state file set aside", reason=str(error), moved_to=str(aside))
        return Database(config.url, password)
    if database.upgraded is not None:
        audit(str(database.upgraded), state=database.where)
    return database


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
        self._membership: Membership | None = None
        self._sources: list[Source] = []
        #: Records that could not be read, by tracking server.
        self.skipped: Counter[MlflowConfig] = Counter()
        self._counting = threading.Lock()
        self._named = Once()
        with ExitStack() as opened:
            if not is_shared(config.state.url):
                opened.callback(StateLock(state_path(config.state.url)).release)
            self._database = database = _open_state(config.state, telemetry)
            opened.callback(database.close)
            if database.divided:
                from mlflow_monitoring_exporter.replication import Membership  # noqa: PLC0415 - needs an extra

                self._membership = Membership(
                    config, database, readiness=telemetry.readiness, metrics=telemetry.metrics, alone=alone
                )
                opened.callback(self._membership.leave)
            self.outbox = Outbox(database)
            self._queued = [d for d in destinations if d.mode is DeliveryMode.EVERY]
            self.bits = register(self.outbox, config, self._queued)
            for destination in destinations:
                opened.callback(destination.exporter.close)
                destination.exporter.start()
                if isinstance(destination.exporter, ScrapedExporter):
                    shown = Shown(destination.exporter, self._shows)
                    telemetry.scraped.append(shown)
                    opened.callback(telemetry.scraped.remove, shown)
            ledger = LedgerCollector(database, self.bits, self._counts)
            telemetry.metrics.registry.register(ledger)
            opened.callback(telemetry.metrics.registry.unregister, ledger)
            self.workers = Workers([self._worker(destination) for destination in destinations])
            self._gauges = Servers([server.name or "" for server in config.servers])
            self.tracked = tuple(Tracked(server, self._open_source(server, opened)) for server in config.servers)
            telemetry.metrics.watch(self.servers)
            self._opened = opened.pop_all()

    @property
    def where(self) -> str:
        """Where the state is, for people."""
        return self._database.where

    @property
    def servers(self) -> tuple[str, ...]:
        """The tracking servers by identity."""
        return tuple(tracked.server for tracked in self.tracked)

    def poller(self, tracked: Tracked, hand_out: HandOut | None = None) -> Poller:
        """What polls a tracking server; with ``hand_out`` others read the points of histories."""
        return Poller(
            tracked.source,
            self.config.export,
            gauges=share_of_gauges(self.config, tracked.config),
            database=self._database,
            queues=queues(self.config, self._queued, self.bits),
            events=self._events(tracked),
            stop=self.stopping,
            hand_out=hand_out,
            servers=self.servers,
        )

    def polling(self, on_broken: Callable[[], None]) -> Polling:
        """When MLflow is polled, and by whom; not started.

        ``on_broken`` hears that everything has to be assembled anew: the state file is damaged, or the other
        replicas have given this one up.
        """
        if self._membership is None:
            return Watches([self.watch(tracked, None, on_broken) for tracked in self.tracked])
        return self._membership.polling(
            {tracked.server: _Roles(self, tracked, on_broken) for tracked in self.tracked},
            wake=self.workers.wake,
            on_expelled=on_broken,
        )

    def cut(self) -> None:
        """End what MLflow is being asked, once ``stopping`` is set; from any thread."""
        for source in tuple(self._sources):
            source.cut()

    def close(self) -> None:
        """Release everything. Threads of the workers must have ended."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_source(self, server: MlflowConfig, opened: ExitStack) -> Source:
        source = open_source(
            server,
            stop=self.stopping,
            concurrency=self.config.export.concurrency,
            params=AddedLabels(self.config.gauges.labels.add).params,
            on_skipped=lambda item, reason: self._skipped(server, item, reason),
        )
        opened.callback(source.close)
        self._sources.append(source)
        return source

    def queueing(self, tracked: Tracked) -> Queueing:
        """What collects experiments; with a source of its own, for one is used by one thread at a time."""
        source = self._open_source(tracked.config, self._opened)
        return Queueing(
            source,
            database=self._database,
            pending=Pending(self._database, Mirror(self._database, source.server)),
            queues=queues(self.config, self._queued, self.bits),
            history=self.config.export.history,
            events=QueueEvents(self.workers.wake, self._telemetry.metrics.read.inc, self._progress.series),
            stop=self.stopping,
            divided=True,
            servers=self.servers,
        )

    def watch(self, tracked: Tracked, hand_out: HandOut | None, on_damaged: Callable[[], None]) -> Watch:
        """What polls a tracking server again and again; not started."""
        export = self.config.export
        job = PollJob(
            self.poller(tracked, hand_out),
            name=tracked.config.name or "",
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
            patience=_PATIENCE * (export.interval + export.jitter) + tracked.config.timeout,
            on_damaged=on_damaged,
        )
        return Watch(job, interval=export.interval, jitter=export.jitter)

    def _shows(self) -> bool:
        return self._membership is None or self._membership.shows

    def _counts(self) -> bool:
        return self._membership is None or self._membership.counts

    def no_longer(self, tracked: Tracked) -> None:
        """Another replica polls this one from now on."""
        self.workers.publish(self._gauges.drop(tracked.config.name or ""))
        self._telemetry.metrics.forget(tracked.server)

    def _events(self, tracked: Tracked) -> PollEvents:
        shown = any(destination.mode is DeliveryMode.LATEST for destination in self.destinations)
        metrics, name = self._telemetry.metrics, tracked.config.name or ""
        return PollEvents(
            published=(lambda snapshot: self.workers.publish(self._gauges.put(name, snapshot))) if shown else None,
            queued=self.workers.wake,
            read=metrics.read.inc,
            loading=self._progress.runs,
            sending=self._progress.series,
            behind=lambda experiments: metrics.found(tracked.server, behind=experiments),
        )

    def _worker(self, destination: Destination) -> Worker:
        return Worker(
            destination.name,
            destination.exporter,
            self._feed(destination),
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
            rest=Rest(destination.name, destination.target, Pauses(self._database)),
        )

    def _feed(self, destination: Destination) -> Feed:
        if destination.mode is DeliveryMode.LATEST:
            return LatestFeed(SnapshotView(destination.config.select).of, owned=self._shows)
        bit = self.bits[destination.name]
        return QueueFeed(self.outbox, bit) if self._membership is None else self._membership.feed(self.outbox, bit)

    def _skipped(self, server: MlflowConfig, item: str, reason: str) -> None:
        """Each record is counted as often as it is met, and named once. Called by several threads."""
        with self._counting:
            self.skipped[server] += 1
        self._telemetry.metrics.skipped.inc()
        if self._named.first(server.tracking_uri, item, reason):
            _log.warning("record of MLflow skipped", item=item, reason=reason)
            if self._named.full:
                _log.warning("further records of MLflow that are skipped are counted, but not named any more")


class _Roles:
    """What a replica may be to one tracking server."""

    def __init__(self, assembly: Assembly, tracked: Tracked, on_damaged: Callable[[], None]) -> None:
        self._assembly = assembly
        self._tracked = tracked
        self._on_damaged = on_damaged
        self.component = component_of(tracked.config.name or "")

    def watch(self, hand_out: HandOut) -> Watch:
        return self._assembly.watch(self._tracked, hand_out, self._on_damaged)

    def queueing(self) -> Queueing:
        return self._assembly.queueing(self._tracked)

    def gone(self) -> None:
        self._assembly.no_longer(self._tracked)
