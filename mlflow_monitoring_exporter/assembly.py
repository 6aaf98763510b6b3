"""From a configuration to connected parts: the one place that knows them all.

::

    Config -> create_destinations -> Assembly: source, state, poller, workers
                                        ^
                       daemon.py, oneshot.py decide when it runs
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import structlog

from mlflow_monitoring_exporter.config.fields import since_ms
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.delivery.feed import Feed, LatestFeed, QueueFeed
from mlflow_monitoring_exporter.delivery.ledger import LedgerCollector
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.errors import ConfigError, ConfigProblem, StateCorruptError
from mlflow_monitoring_exporter.exporters.contract import AnyExporter, DeliveryMode, ExporterPlugin, ScrapedExporter
from mlflow_monitoring_exporter.exporters.registry import Plugins
from mlflow_monitoring_exporter.schedule.poll import Poller, PollEvents
from mlflow_monitoring_exporter.schedule.queueing import Queue
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.file import StateLock, set_aside, state_path
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.transform.labels import AddedLabels
from mlflow_monitoring_exporter.transform.view import SnapshotView, View

_log = structlog.get_logger(__name__)


class Telemetry:
    """What the process says about itself; outlives every reload."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self.metrics = SelfMetrics(self.readiness)
        #: What /metrics shows beside the self metrics.
        self.scraped: list[ScrapedExporter] = []


class Progress:
    """Hears how far a long reading has come; this one keeps it to itself."""

    def runs(self, read: int) -> None:
        """So many runs were read."""

    def series(self, done: int, total: int) -> None:
        """Of so many series the points were read, of ``total`` they will be."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One enabled exporter of the configuration."""

    name: str
    config: ExporterConfig
    plugin: ExporterPlugin[Any]
    exporter: AnyExporter

    @property
    def target(self) -> str:
        """Where it sends to, for people."""
        return self.plugin.target(self.config)

    @property
    def mode(self) -> DeliveryMode:
        return self.plugin.mode

    @property
    def scraped(self) -> bool:
        """Whether it waits on /metrics to be fetched, and so needs the running daemon."""
        return isinstance(self.exporter, ScrapedExporter)

    @property
    def batches(self) -> BatchExporterConfig:
        """Its configuration, when it receives every sample; the registry lets no other pass."""
        if not isinstance(self.config, BatchExporterConfig):
            raise TypeError(self.config.type)
        return self.config


def create_destinations(config: Config, plugins: Plugins) -> tuple[Destination, ...]:
    """Every enabled exporter, not started. Raises ConfigError for those that exclude each other."""
    made = []
    for name, block in config.enabled_exporters().items():
        plugin = plugins[block.type]
        try:
            exporter = plugin.create(block)
        except ConfigError as error:
            raise ConfigError(
                [ConfigProblem(p.where, f"exporters.{name}", p.message) for p in error.problems]
            ) from None
        made.append(Destination(name, block, plugin, exporter))
    scraped = [destination.name for destination in made if destination.scraped]
    if len(scraped) > 1:
        reason = f"{scraped[0]} already serves /metrics, and each series may be there only once"
        raise ConfigError([ConfigProblem("", f"exporters.{name}", reason) for name in scraped[1:]])
    return tuple(made)


def register(outbox: Outbox, config: Config, destinations: Sequence[Destination]) -> Mapping[str, int]:
    """The bit of each EVERY exporter; a new one begins where ``export.since`` says."""
    begin = since_ms(config.export.since, time.time_ns() // 1_000_000)
    selections = {d.name: View(d.batches).selection for d in destinations}
    return outbox.register(selections, since_ms=begin, selections=selections)


def queues(config: Config, destinations: Sequence[Destination], bits: Mapping[str, int]) -> list[Queue]:
    """A queue for each EVERY exporter, each with the same share of ``state.max_size``."""
    share = config.state.max_size // max(1, len(destinations))
    drop_oldest = config.state.overflow == "drop_oldest"
    return [
        Queue(d.name, bits[d.name], d.batches.batch_size, share, View(d.batches), drop_oldest) for d in destinations
    ]


def _open_state(url: str, telemetry: Telemetry) -> Database:
    """The state database; a damaged one is set aside, and a new one begins."""
    try:
        return Database(url)
    except StateCorruptError as error:
        aside = set_aside(state_path(url))
        telemetry.metrics.state_resets.inc()
        audit("state file set aside", reason=str(error), moved_to=str(aside))
        return Database(url)


class Assembly:
    """Everything that one configuration needs, connected and started but for its threads.

    Raises ConfigError and StateError; what was opened by then is closed again.
    """

    def __init__(
        self,
        config: Config,
        destinations: Sequence[Destination],
        telemetry: Telemetry,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        self.destinations = tuple(destinations)
        self.stopping = threading.Event()
        self._telemetry = telemetry
        with ExitStack() as opened:
            lock = StateLock(state_path(config.state.url))
            opened.callback(lock.release)
            database = _open_state(config.state.url, telemetry)
            opened.callback(database.close)
            self.outbox = Outbox(database)
            queued = [d for d in destinations if d.mode is DeliveryMode.EVERY]
            self.bits = register(self.outbox, config, queued)
            for destination in destinations:
                opened.callback(destination.exporter.close)
                destination.exporter.start()
                if isinstance(destination.exporter, ScrapedExporter):
                    telemetry.scraped.append(destination.exporter)
                    opened.callback(telemetry.scraped.remove, destination.exporter)
            ledger = LedgerCollector(database, self.bits)
            telemetry.metrics.registry.register(ledger)
            opened.callback(telemetry.metrics.registry.unregister, ledger)
            self.workers = Workers([self._worker(destination) for destination in destinations])
            self.source = open_source(
                config.mlflow,
                stop=self.stopping,
                concurrency=config.export.concurrency,
                params=AddedLabels(config.gauges.labels.add).params,
                on_skipped=self._skipped,
            )
            opened.callback(self.source.close)
            self.poller = Poller(
                self.source,
                config.export,
                gauges=config.gauges,
                database=database,
                queues=queues(config, queued, self.bits),
                events=self._events(progress or Progress()),
                stop=self.stopping,
            )
            self._opened = opened.pop_all()

    def _events(self, progress: Progress) -> PollEvents:
        shown = any(destination.mode is DeliveryMode.LATEST for destination in self.destinations)
        return PollEvents(
            published=self.workers.publish if shown else None,
            queued=self.workers.wake,
            read=self._telemetry.metrics.read.inc,
            loading=progress.runs,
            sending=progress.series,
        )

    def close(self) -> None:
        """Release everything. Threads of the workers must have ended."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _worker(self, destination: Destination) -> Worker:
        feed: Feed = (
            LatestFeed(SnapshotView(destination.config.select).of)
            if destination.mode is DeliveryMode.LATEST
            else QueueFeed(self.outbox, self.bits[destination.name])
        )
        return Worker(
            destination.name,
            destination.exporter,
            feed,
            readiness=self._telemetry.readiness,
            metrics=self._telemetry.metrics,
        )

    def _skipped(self, item: str, reason: str) -> None:
        self._telemetry.metrics.skipped.inc()
        _log.warning("record of MLflow skipped", item=item, reason=reason)
