"""What the daemon found in its tracking servers: how many experiments, runs and series."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Inventory(Collector):
    """What was found in tracking servers, added up. A figure that is not known yet is not there, rather than 0."""

    _FAMILIES: ClassVar[Mapping[str, tuple[str, str]]] = {
        "experiments": ("mlflow_exporter_experiments", "Experiments that are watched."),
        "runs": ("mlflow_exporter_runs", "Runs in the watched experiments."),
        "series": ("mlflow_exporter_series", "Series of MLflow in the current snapshot."),
        "behind": (
            "mlflow_exporter_experiments_behind",
            "Experiments with points that are still to be read for some exporter, as of the last poll.",
        ),
    }

    def __init__(self, registry: CollectorRegistry, reasons: Sequence[str]) -> None:
        """``reasons`` are why series may be left out."""
        self._reasons = reasons
        self._lock = threading.Lock()
        self._figures: dict[str, dict[str, float]] = {}
        registry.register(self)

    def put(self, server: str, figures: Mapping[str, float]) -> None:
        """Figures of one tracking server: of :data:`_FAMILIES`, or by reason why series were left out."""
        with self._lock:
            self._figures.setdefault(server, {}).update(figures)

    def drop(self, server: str) -> None:
        """Nothing is known of this server any more."""
        with self._lock:
            self._figures.pop(server, None)

    def clear(self) -> None:
        """Nothing is known of any server."""
        with self._lock:
            self._figures.clear()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            known = [dict(figures) for figures in self._figures.values()]
        for what, (name, text) in self._FAMILIES.items():
            gauge = GaugeMetricFamily(name, text)
            if values := [figures[what] for figures in known if what in figures]:
                gauge.add_metric([], sum(values))
            yield gauge
        left_out = GaugeMetricFamily(
            "mlflow_exporter_series_left_out",
            "Series of MLflow that are missing in the current snapshot.",
            labels=["reason"],
        )
        for reason in self._reasons:
            if values := [figures.get(reason, 0.0) for figures in known if "series" in figures]:
                left_out.add_metric([reason], sum(values))
        yield left_out
