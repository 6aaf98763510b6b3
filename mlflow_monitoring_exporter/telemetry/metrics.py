"""What the daemon measures of itself. docs/reference/metrics.md explains every metric.

A registry of our own: nothing that a library registers globally reaches /metrics.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator

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
        self._found: dict[str, dict[str, float]] = {}
        self._read_at: dict[str, float] = {}
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
        self.poll_success = Gauge(
            "mlflow_exporter_last_poll_success_timestamp_seconds",
            "When a poll last read all of MLflow, in Unix time; 0 before the first.",
            registry=registry,
        )
        self.experiments = Gauge("mlflow_exporter_experiments", "Experiments that are watched.", registry=registry)
        self.runs = Gauge("mlflow_exporter_runs", "Runs in the watched experiments.", registry=registry)
        self.series = Gauge("mlflow_exporter_series", "Series of MLflow in the current snapshot.", registry=registry)
        self.series_left_out = Gauge(
            "mlflow_exporter_series_left_out",
            "Series of MLflow that are missing in the current snapshot.",
            ["reason"],
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
            self.series_left_out.labels(reason)
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
        self.behind = Gauge(
            "mlflow_exporter_experiments_behind",
            "Experiments with points that are still to be read for some exporter, as of the last poll.",
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

    def watch(self, servers: Iterable[str]) -> None:
        """These tracking servers, by identity, are those of the configuration; nothing was found in them so far."""
        self.owner.clear()
        self.replicas.set(0)
        with self._lock:
            self._found = {}
            self._read_at = dict.fromkeys(servers, 0.0)
            self._wanted = {}
            self._show_wanted()
            self._add_up()

    def found(self, server: str, **figures: float) -> None:
        """Figures of one tracking server, which are shown added up: experiments, runs, series, behind, or a reason
        why series were left out.
        """
        with self._lock:
            self._found.setdefault(server, {}).update(figures)
            self._add_up()

    def forget(self, server: str) -> None:
        """This process polls ``server`` no more."""
        with self._lock:
            self._found.pop(server, None)
            self._wanted.pop(server, None)
            self._show_wanted()
            self._add_up()

    def want_most(self, server: str, name: str, demands: Iterable[Demand]) -> None:
        """These want most of the series of ``server``, which is called ``name``; none while there is room for all."""
        wanted = [((name, demand.experiment_id, shortened(demand.name, _LONGEST)), demand.wanted) for demand in demands]
        with self._lock:
            if wanted != self._wanted.get(server, []):
                self._wanted[server] = wanted
                self._show_wanted()

    def read_at(self, server: str, seconds: float) -> None:
        """When the last whole poll of ``server`` was, in Unix time; of several servers the oldest is shown."""
        with self._lock:
            self._read_at[server] = seconds
            self.poll_success.set(min(self._read_at.values()))

    def _show_wanted(self) -> None:
        self.series_wanted.clear()
        for labels, wanted in (each for demands in self._wanted.values() for each in demands):
            self.series_wanted.labels(*labels).set(wanted)

    def _add_up(self) -> None:
        gauges = {
            "experiments": self.experiments,
            "runs": self.runs,
            "series": self.series,
            "behind": self.behind,
            **{reason: self.series_left_out.labels(reason) for reason in _LEFT_OUT},
        }
        for name, gauge in gauges.items():
            gauge.set(sum(figures.get(name, 0) for figures in self._found.values()))
