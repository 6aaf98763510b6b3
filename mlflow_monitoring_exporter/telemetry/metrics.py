"""What the daemon measures of itself. docs/reference/metrics.md explains every metric.

A registry of our own: nothing that a library registers globally reaches /metrics.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.core.values import Demand
from mlflow_monitoring_exporter.prometheus.label_lengths import shortened
from mlflow_monitoring_exporter.telemetry.exporter_metrics import ExporterMetrics
from mlflow_monitoring_exporter.telemetry.inventory import Inventory
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

#: Why series are missing in a snapshot.
_LEFT_OUT = ("max_series", "same_labels")
#: Bytes of a name that is a label's value.
_LONGEST = 200
_POLL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class _ReadyGauge(Collector):
    """What /readyz says, as it stands at the scrape."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "mlflow_exporter_ready",
            "Whether a component works (1) or not (0): mlflow, state, and exporters.<name>.",
            labels=["component"],
        )
        for component, condition in sorted(self._readiness.report().items()):
            gauge.add_metric([component], condition.ready)
        yield gauge


class SelfMetrics:
    """The metrics ``mlflow_exporter_*`` and the usual ``process_*``; one object, so that a reload keeps counting."""

    def __init__(self, readiness: Readiness) -> None:
        # Otherwise every counter is two series, and the second is never graphed.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self._lock = threading.Lock()  # each tracking server is polled on a thread of its own
        self._names: Mapping[str, str] = {}
        self._found = Inventory(registry, _LEFT_OUT)
        self._wanted: dict[str, list[tuple[tuple[str, str, str], int]]] = {}
        self.registry.register(_ReadyGauge(readiness))
        ProcessCollector(registry=registry)
        Gauge(
            "mlflow_exporter_build_info",
            "Always 1; the labels say which release runs.",
            ["version", "python"],
            registry=registry,
        ).labels(__version__, platform.python_version()).set(1)
        self.started = Gauge(
            "mlflow_exporter_start_time_seconds", "When the process started, in Unix time.", registry=registry
        )
        self.started.set_to_current_time()
        self.config_reload_successful = Gauge(
            "mlflow_exporter_config_last_reload_successful",
            "Whether the newest configuration is in use (1), or was refused and the one before stays (0).",
            registry=registry,
        )
        self.config_reload_successful.set(1)

        self.state_resets = Counter(
            "mlflow_exporter_state_resets_total",
            "Times that a damaged state file was set aside and a new one begun.",
            registry=registry,
        )
        self.config = Gauge(
            "mlflow_exporter_config_info",
            "Always 1; the label is a hash of the configuration in use, without its secrets.",
            ["hash"],
            registry=registry,
        )

        self.polls = Counter(
            "mlflow_exporter_polls_total",
            "Polls of MLflow by result: ok, failed or skipped.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "failed", "skipped"):
            self.polls.labels(result)
        self.poll_duration = Histogram(
            "mlflow_exporter_poll_duration_seconds",
            "How long a poll took, failed ones included.",
            buckets=_POLL_BUCKETS,
            registry=registry,
        )
        self.links = Gauge(
            "mlflow_exporter_links_info",
            "Always 1; where links in notifications lead besides MLflow.",
            ["grafana", "runbooks"],
            registry=registry,
        )
        self._server_info = Gauge(
            "mlflow_exporter_server_info",
            "Always 1; a tracking server of the configuration, and where people open it.",
            ["server", "public_url"],
            registry=registry,
        )
        self._poll_success = Gauge(
            "mlflow_exporter_last_poll_success_timestamp_seconds",
            "When all of a tracking server was last read, in Unix time; not there before the first time.",
            ["server"],
            registry=registry,
        )
        self._polling_since = Gauge(
            "mlflow_exporter_polling_since_timestamp_seconds",
            "When this process began to poll a tracking server, in Unix time.",
            ["server"],
            registry=registry,
        )
        self._load_progress = Gauge(
            "mlflow_exporter_load_progress_timestamp_seconds",
            "When a load of all runs of a tracking server last got some, in Unix time; not there before any.",
            ["server"],
            registry=registry,
        )
        self.series_wanted = Gauge(
            "mlflow_exporter_series_wanted",
            "Series that the experiment wants to show which wants most of them, while there is no room for all.",
            ["server", "experiment_id", "experiment_name"],
            registry=registry,
        )
        self.series_dropped = Counter(
            "mlflow_exporter_series_dropped_total",
            "Series that were left out of a snapshot, counted again for each new one.",
            ["reason"],
            registry=registry,
        )
        for reason in _LEFT_OUT:  # are there from the start, as 0
            self.series_dropped.labels(reason)
        self.read = Counter(
            "mlflow_exporter_samples_read_total",
            "Points of histories that were read from MLflow, those that were known already included.",
            registry=registry,
        )
        self.skipped = Counter(
            "mlflow_exporter_records_skipped_total",
            "Records of MLflow that could not be read and were left out.",
            registry=registry,
        )

        self.replicas = Gauge(
            "mlflow_exporter_replicas",
            "Replicas that share the state database and are alive, this one included; 0 for a daemon on its own.",
            registry=registry,
        )
        self.owner = Gauge(
            "mlflow_exporter_owner",
            "Whether this replica polls a tracking server and shows its gauges (1), or another one does (0).",
            ["server"],
            registry=registry,
        )
        self.takeovers = Counter(
            "mlflow_exporter_takeovers_total",
            "Tracking servers that this replica began to poll, because no replica did.",
            registry=registry,
        )
        self.expelled = Counter(
            "mlflow_exporter_expelled_total",
            "Times that the other replicas gave this one up, because it was silent for too long.",
            registry=registry,
        )
        self.collects = Counter(
            "mlflow_exporter_collects_total",
            "Experiments whose points this replica read, by result: ok, unfinished or failed.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "unfinished", "failed"):
            self.collects.labels(result)

        self.exporters = ExporterMetrics(registry)

    def watch(self, servers: Mapping[str, tuple[str, str]]) -> None:
        """These tracking servers are those of the configuration; nothing was found in them so far.

        ``servers`` has by identity their names, empty for an only one, and where people open them.
        """
        self.owner.clear()
        self.replicas.set(0)
        with self._lock:
            self._names = {identity: name for identity, (name, _) in servers.items()}
            self._found.clear()
            self._wanted = {}
            self._show_wanted()
            for gauge in (self._server_info, self._poll_success, self._polling_since, self._load_progress):
                gauge.clear()
            for name, url in servers.values():
                self._server_info.labels(name, url).set(1)

    def polling(self, server: str) -> None:
        """This process polls ``server`` from now on."""
        self._polling_since.labels(self._name(server)).set_to_current_time()

    def found(self, server: str, **figures: float) -> None:
        """Figures of one tracking server, which are shown added up: experiments, runs, series, behind, or a reason
        why series were left out.
        """
        self._found.put(server, figures)

    def forget(self, server: str) -> None:
        """This process polls ``server`` no more."""
        self._found.drop(server)
        with self._lock:
            self._wanted.pop(server, None)
            self._show_wanted()
            for gauge in (self._polling_since, self._load_progress):
                with suppress(KeyError):
                    gauge.remove(self._name(server))

    def want_most(self, server: str, demands: Iterable[Demand]) -> None:
        """These want most of the series of ``server``; none while there is room for all."""
        name = self._name(server)
        wanted = [((name, demand.experiment_id, shortened(demand.name, _LONGEST)), demand.wanted) for demand in demands]
        with self._lock:
            if wanted != self._wanted.get(server, []):
                self._wanted[server] = wanted
                self._show_wanted()

    def read_at(self, server: str, seconds: float) -> None:
        """When the last whole poll of ``server`` was, in Unix time."""
        self._poll_success.labels(self._name(server)).set(seconds)

    def loading(self, server: str) -> None:
        """A load of ``server`` got some runs just now."""
        self._load_progress.labels(self._name(server)).set_to_current_time()

    def _name(self, server: str) -> str:
        return self._names.get(server, "")

    def _show_wanted(self) -> None:
        self.series_wanted.clear()
        for labels, wanted in (each for demands in self._wanted.values() for each in demands):
            self.series_wanted.labels(*labels).set(wanted)
