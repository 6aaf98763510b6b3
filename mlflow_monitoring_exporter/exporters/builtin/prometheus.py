"""Serves the current gauges on the daemon's own /metrics, beside its self metrics.

::

    exporters:
      prometheus:
        type: prometheus

The address is that of the daemon: ``web.listen``.
"""

from __future__ import annotations

from typing import Literal

from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.prometheus.exposition import Encoder, Page


class PrometheusConfig(ExporterConfig):
    """The scrape endpoint."""

    type: Literal["prometheus"]


class PrometheusExporter:
    """Keeps the newest snapshot, encoded; the daemon serves it on /metrics."""

    def __init__(self, _config: PrometheusConfig) -> None:
        self._encoder = Encoder()
        self._snapshot: Snapshot | None = None
        self._page = Page()

    @property
    def page(self) -> Page:
        """The newest snapshot; empty before the first."""
        return self._page

    def start(self) -> None:
        """Nothing to acquire: the web room listens."""

    def check(self) -> None:
        """Nothing can fail: the snapshot stays in this process."""

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:  # takes no time
        if payload is not self._snapshot:
            self._encoder.turn()
            self._page = self._encoder.page(payload)
            self._snapshot = payload

    def close(self) -> None:
        self._snapshot, self._page = None, Page()


plugin = ExporterPlugin(
    config=PrometheusConfig,
    create=PrometheusExporter,
    mode=DeliveryMode.LATEST,
    target=lambda _config: "/metrics",
)
