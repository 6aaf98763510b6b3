"""What the daemon measures of each exporter: attempts, their results, and whether it can deliver."""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RESULTS = ("ok", "retry", "unauthorized", "rejected", "crashed")


class State(StrEnum):
    """Whether an exporter is able to deliver."""

    closed = "closed"
    backing_off = "backing_off"
    parked = "parked"


class ExporterMetrics:
    """Every metric here has the label ``exporter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name = ["exporter"]
        self.retried = Counter(
            "mlflow_exporter_samples_retried_total",
            "Samples of attempts that failed and are repeated.",
            name,
            registry=registry,
        )
        self.series_refused = Gauge(
            "mlflow_exporter_series_refused",
            "Series of the newest snapshot that a platform did not take; they are offered again with the next one.",
            name,
            registry=registry,
        )
        self.state = Gauge(
            "mlflow_exporter_state",
            "1 for the state that an exporter is in: closed (delivering), backing_off or parked.",
            ["exporter", "state"],
            registry=registry,
        )
        self.exports = Counter(
            "mlflow_exporter_exports_total",
            "Attempts to deliver by result: ok, retry, unauthorized, rejected or crashed.",
            ["exporter", "result"],
            registry=registry,
        )
        self.export_duration = Histogram(
            "mlflow_exporter_export_duration_seconds",
            "How long one attempt to deliver took.",
            name,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.export_success = Gauge(
            "mlflow_exporter_last_success_timestamp_seconds",
            "When a platform last acknowledged something, in Unix time; not there before the first.",
            name,
            registry=registry,
        )

    def introduce(self, exporter: str, *, queued: bool) -> None:
        """Show every metric of ``exporter`` that counts from the start, at zero; those of samples if it has a queue."""
        self.export_duration.labels(exporter)
        for result in _RESULTS:
            self.exports.labels(exporter, result)
        self.series_refused.labels(exporter)
        if queued:
            self.retried.labels(exporter)

    def set_state(self, exporter: str, state: State) -> None:
        """The series of ``state`` becomes 1, those of the other states 0."""
        for each in State:
            self.state.labels(exporter, each).set(each is state)

    def forget(self, exporter: str) -> None:
        """``exporter`` is no longer configured."""
        counted = (self.retried, self.series_refused, self.state, self.exports)
        for metric in (*counted, self.export_duration, self.export_success):
            metric.remove_by_labels({"exporter": exporter})
