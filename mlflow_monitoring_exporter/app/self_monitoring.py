"""What a process says about itself while it works."""

from __future__ import annotations

from collections.abc import Callable

from mlflow_monitoring_exporter.exporters.contract import ScrapedExporter
from mlflow_monitoring_exporter.prometheus.exposition import Page
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness


class Telemetry:
    """What the process says about itself; outlives every reload."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self.metrics = SelfMetrics(self.readiness)
        #: What /metrics shows beside the self metrics.
        self.scraped: list[ScrapedExporter] = []


class OwnedPage:
    """What a scraped exporter shows, as long as it is this replica's to show."""

    def __init__(self, exporter: ScrapedExporter, shows: Callable[[], bool]) -> None:
        self._exporter = exporter
        self._shows = shows

    @property
    def page(self) -> Page:
        return self._exporter.page if self._shows() else Page()


class Progress:
    """Hears how far a long reading has come; this one keeps it to itself."""

    def runs(self, read: int) -> None:
        """So many runs were read."""

    def series(self, done: int, total: int) -> None:
        """Of so many series the points were read, of ``total`` they will be."""
