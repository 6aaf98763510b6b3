"""From a configuration to connected parts: the one place that knows them all.

::

    Config -> destinations.py -> Assembly: source, state, poller, workers
                                    ^          |
                                    |          +-- replication.py, when the state is shared
               daemon.py, oneshot.py decide when it runs
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from mlflow_monitoring_exporter.config.schema import Config, StateConfig
from mlflow_monitoring_exporter.delivery.feed import Feed, LatestFeed, QueueFeed
from mlflow_monitoring_exporter.delivery.ledger import LedgerCollector
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.destinations import Destination, queues, register
from mlflow_monitoring_exporter.errors import StateCorruptError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ScrapedExporter
from mlflow_monitoring_exporter.exporters.exposition import Page
from mlflow_monitoring_exporter.schedule.dispatch import HandOut
from mlflow_monitoring_exporter.schedule.job import PollJob
from mlflow_monitoring_exporter.schedule.poll import Poller, PollEvents
from mlflow_monitoring_exporter.schedule.queueing import QueueEvents, Queueing
from mlflow_monitoring_exporter.schedule.watch import Watch
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.database import Database, is_shared
from mlflow_monitoring_exporter.state.file import StateLock, set_aside, state_path
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.pending import Pending
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.transform.labels import AddedLabels
from mlflow_monitoring_exporter.transform.view import SnapshotView

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.replication import Membership

_log = structlog.get_logger(__name__)

#: Polls that may fail or be late before MLflow counts as silent.
_PATIENCE = 3


class Telemetry:
    """What the process says about itself; outlives every reload."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self.metrics = SelfMetrics(self.readiness)
        #: What /metrics shows beside the self metrics.
        self.scraped: list[ScrapedExporter] = []


class _Shown:
    """What a scraped exporter shows, as long as it is this replica's to show."""

    def __init__(self, exporter: ScrapedExporter, shows: Callable[[], bool]) -> None:
        self._exporter = exporter
        self._shows = shows

    @property
    def page(self) -> Page:
        return self._exporter.page if self._shows() else Page()


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


class Progress:
    """Hears how far a long reading has come; this one keeps it to itself."""

    def runs(self, read: int) -> None:
        """So many runs were read."""

    def series(self, done: int, total: int) -> None:
        """Of so many series the points were read, of ``total`` they will be."""


def open_state(config: StateConfig) -> Database:
    """The state database, as it is."""
    return Database(config.url, config.secret("password").get)


def _open_or_renew(config: StateConfig, telemetry: Telemetry) -> Database:
    """The state database; a damaged file is set aside, and a new one begins."""
    try:
        return open_state(config)
    except StateCorruptError as error:
        aside = set_aside(state_path(config.url))
        telemetry.metrics.state_resets.inc()
        audit("state file set aside", reason=str(error), moved_to=str(aside))
        return open_state(config)


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
        with ExitStack() as opened:
            if not is_shared(config.state.url):
                opened.callback(StateLock(state_path(config.state.url)).release)
            self._database = database = _open_or_renew(config.state, telemetry)
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
                    shown = _Shown(destination.exporter, self._shows)
                    telemetry.scraped.append(shown)
                    opened.callback(telemetry.scraped.remove, shown)
            ledger = LedgerCollector(database, self.bits, self._counts)
            telemetry.metrics.registry.register(ledger)
            opened.callback(telemetry.metrics.registry.unregister, ledger)
            self.workers = Workers([self._worker(destination) for destination in destinations])
            self.source = self._open_source(opened)
            self._opened = opened.pop_all()

    @property
    def where(self) -> str:
        """Where the state is, for people."""
        return self._database.where

    def poller(self, hand_out: HandOut | None = None) -> Poller:
        """What polls MLflow; with ``hand_out`` others read the points of histories."""
        return Poller(
            self.source,
            self.config.export,
            gauges=self.config.gauges,
            database=self._database,
            queues=queues(self.config, self._queued, self.bits),
            events=self._events(),
            stop=self.stopping,
            hand_out=hand_out,
        )

    def polling(self, on_broken: Callable[[], None]) -> Polling:
        """When MLflow is polled, and by whom; not started.

        ``on_broken`` hears that everything has to be assembled anew: the state file is damaged, or the other
        replicas have given this one up.
        """
        if self._membership is None:
            return self._watch(self.poller(), on_broken)
        return self._membership.polling(
            self.source,
            watch=lambda hand_out: self._watch(self.poller(hand_out), on_broken),
            queueing=self._queueing,
            wake=self.workers.wake,
            on_expelled=on_broken,
        )

    def close(self) -> None:
        """Release everything. Threads of the workers must have ended."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_source(self, opened: ExitStack) -> Source:
        source = open_source(
            self.config.mlflow,
            stop=self.stopping,
            concurrency=self.config.export.concurrency,
            params=AddedLabels(self.config.gauges.labels.add).params,
            on_skipped=self._skipped,
        )
        opened.callback(source.close)
        return source

    def _queueing(self) -> Queueing:
        """What collects experiments; with a source of its own, for one is used by one thread at a time."""
        source = self._open_source(self._opened)
        return Queueing(
            source,
            database=self._database,
            pending=Pending(self._database, Mirror(self._database, source.server)),
            queues=queues(self.config, self._queued, self.bits),
            history=self.config.export.history,
            events=QueueEvents(self.workers.wake, self._telemetry.metrics.read.inc, self._progress.series),
            stop=self.stopping,
            divided=True,
        )

    def _watch(self, poller: Poller, on_damaged: Callable[[], None]) -> Watch:
        export = self.config.export
        job = PollJob(
            poller,
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
            patience=_PATIENCE * (export.interval + export.jitter) + self.config.mlflow.timeout,
            on_damaged=on_damaged,
        )
        return Watch(job, interval=export.interval, jitter=export.jitter)

    def _shows(self) -> bool:
        return self._membership is None or self._membership.shows

    def _counts(self) -> bool:
        return self._membership is None or self._membership.counts

    def _events(self) -> PollEvents:
        shown = any(destination.mode is DeliveryMode.LATEST for destination in self.destinations)
        return PollEvents(
            published=self.workers.publish if shown else None,
            queued=self.workers.wake,
            read=self._telemetry.metrics.read.inc,
            loading=self._progress.runs,
            sending=self._progress.series,
            behind=self._telemetry.metrics.behind.set,
        )

    def _worker(self, destination: Destination) -> Worker:
        return Worker(
            destination.name,
            destination.exporter,
            self._feed(destination),
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
        )

    def _feed(self, destination: Destination) -> Feed:
        if destination.mode is DeliveryMode.LATEST:
            return LatestFeed(SnapshotView(destination.config.select).of, owned=self._shows)
        bit = self.bits[destination.name]
        return QueueFeed(self.outbox, bit) if self._membership is None else self._membership.feed(self.outbox, bit)

    def _skipped(self, item: str, reason: str) -> None:
        self._telemetry.metrics.skipped.inc()
        _log.warning("record of MLflow skipped", item=item, reason=reason)
