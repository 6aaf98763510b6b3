"""``check``: reach every endpoint and count what an export would deliver, without changing anything."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mlflow_monitoring_exporter.app.destinations import Destination, create_destinations, queues, register
from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.app.reports import OnceReport, ServerReport, polled, report_on
from mlflow_monitoring_exporter.app.self_monitoring import Progress
from mlflow_monitoring_exporter.app.tracking_servers import open_tracking_server, share_of_gauges
from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig, StateConfig
from mlflow_monitoring_exporter.core.errors import describe
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode
from mlflow_monitoring_exporter.exporters.plugins import Plugins
from mlflow_monitoring_exporter.state.database import Database, copy_state
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.merged_servers import MergedServers
from mlflow_monitoring_exporter.transform.projection import SnapshotProjection


def check(config: Config, plugins: Plugins, progress: Progress | None = None) -> OnceReport:
    """Reach every endpoint, and count what would go where. Works on a copy of the state.

    ``delivered`` in the report is what an export would deliver now. Raises ConfigError and StateError.
    """
    destinations = create_destinations(config, plugins)
    with _copy_of_state(config.state) as state:
        trial = _DryRun(config, destinations, state, progress or Progress())
        servers = tuple(trial.poll(server) for server in config.servers)
        errors = _check_all(destinations)
        reports = tuple(report_on(d, delivered=trial.would_deliver(d), error=errors[d.name]) for d in destinations)
        return OnceReport(servers, reports, trial.better)


@contextmanager
def _copy_of_state(config: StateConfig) -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="mlflow-monitoring-exporter-") as directory:
        path = Path(directory) / "state.db"
        copy_state(config.url, path, config.secret("password").get)
        copy = Database(f"sqlite:///{path}")
        try:
            yield copy
        finally:
            copy.close()


class _DryRun:
    """Polls into ``state``, whose queues are as large as need be, and delivers nothing."""

    def __init__(
        self, config: Config, destinations: Sequence[Destination], state: Database, progress: Progress
    ) -> None:
        self._config = config
        self._state = state
        self._progress = progress
        self._outbox = Outbox(state)
        queued = [d for d in destinations if d.mode is DeliveryMode.EVERY]
        self._queue_ids = register(self._outbox, config, queued)
        self._queues = [replace(queue, max_bytes=sys.maxsize) for queue in queues(config, queued, self._queue_ids)]
        self._gauges = MergedServers([server.name or "" for server in config.servers])
        self._snapshot: Snapshot | None = None
        #: Of every metric key, which way is better: ``min``, ``max``, or None where that is unknown.
        self.better: dict[str, str | None] = {}

    def poll(self, server: MlflowConfig) -> ServerReport:
        """Read all of one tracking server."""
        skipped: list[str] = []
        stop = threading.Event()
        opened = open_tracking_server(
            self._config, server, stop=stop, on_skipped=lambda item, _reason: skipped.append(item)
        )
        try:
            poller = build_poller(
                opened.source,
                self._config.export,
                gauges=share_of_gauges(self._config, server),
                database=self._state,
                queues=self._queues,
                events=PollEvents(
                    published=lambda snapshot: self._show(server, snapshot),
                    loading=self._progress.runs,
                    sending=self._progress.series,
                ),
                stop=stop,
            )
            report = polled(opened.server, poller, complete=True)
        finally:
            opened.source.close()
        self.better |= {key: verdict.better for _, key, verdict in poller.verdicts()}
        return replace(report, skipped=len(skipped))

    def would_deliver(self, destination: Destination) -> int:
        """Samples that are queued for an exporter by now, or series of the snapshot that are for it."""
        if destination.name in self._queue_ids:
            return self._outbox.ledger(self._queue_ids[destination.name]).queued
        if self._snapshot is None:
            return 0
        return SnapshotProjection(destination.config.select).of(self._snapshot).series_count

    def _show(self, server: MlflowConfig, snapshot: Snapshot) -> None:
        self._snapshot = self._gauges.put(server.name or "", snapshot)


def _check_all(destinations: Sequence[Destination]) -> dict[str, str | None]:
    """What keeps each destination from delivering, all asked at the same time."""
    found: dict[str, str | None] = {}

    def ask(destination: Destination, check_it: Callable[[], None]) -> None:
        try:
            check_it()
        except Exception as error:  # noqa: BLE001 - a foreign exporter may raise anything
            found[destination.name] = describe(error)
        else:
            found[destination.name] = None
        finally:
            destination.exporter.close()

    threads = [threading.Thread(target=ask, args=(d, d.exporter.check), daemon=True) for d in destinations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
