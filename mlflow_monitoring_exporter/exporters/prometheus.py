"""Serves the current gauges on the daemon's own /metrics, beside its self metrics.

::

    exporters:
      prometheus:
        type: prometheus

The address is that of the daemon: ``web.listen``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from prometheus_client.core import Metric

from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin, ScrapedExporter
from mlflow_monitoring_exporter.exporters.exposition import to_metrics
from mlflow_monitoring_exporter.model import Snapshot


class PrometheusConfig(ExporterConfig):
    """The scrape endpoint."""

    type: Literal["prometheus"]


class PrometheusExporter(ScrapedExporter):
    """Keeps the newest snapshot; the daemon registers it as a collector of /metrics."""

    def __init__(self, _config: PrometheusConfig) -> None:
        self._snapshot = Snapshot({})

    def start(self) -> None:
        """Nothing to acquire: the web room listens."""

    def check(self) -> None:
        """Nothing can fail: the snapshot stays in this process."""

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:  # noqa: ARG002 - takes no time
        self._snapshot = payload

    def collect(self) -> Iterator[Metric]:
        """Every family of the newest snapshot, for prometheus_client."""
        return to_metrics(self._snapshot.families())

    def describe(self) -> list[Metric]:
        """Nothing in advance: which families there are depends on MLflow."""
        return []

    def close(self) -> None:
        self._snapshot = Snapshot({})


plugin = ExporterPlugin(
    config=PrometheusConfig,
    create=PrometheusExporter,
    mode=DeliveryMode.LATEST,
    target=lambda _config: "/metrics",
)
