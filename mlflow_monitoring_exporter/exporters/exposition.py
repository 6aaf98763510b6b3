"""Gauge families in the Prometheus text format, by prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from mlflow_monitoring_exporter.model import GaugeFamily


def to_metrics(families: Iterable[GaugeFamily]) -> Iterator[Metric]:
    """The families as prometheus_client's own type."""
    for family in families:
        metric = GaugeMetricFamily(family.name, family.help)
        for series in family.series:
            metric.add_sample(family.name, dict(series.labels), series.value)
        yield metric


class _Fixed(Collector):
    def __init__(self, families: Iterable[GaugeFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return to_metrics(self._families)


def encode_text(families: Iterable[GaugeFamily]) -> bytes:
    """The families in the text format 0.0.4, without timestamps."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(tuple(families)))
    return bytes(generate_latest(registry))
