"""How much waits for each exporter, asked of the queue itself at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mlflow_monitoring_exporter.errors import StateError
from mlflow_monitoring_exporter.state.outbox import Outbox


class BacklogCollector(Collector):
    """The gauges of the queues of ``bits``, by exporter name. Without a readable state, nothing."""

    def __init__(self, outbox: Outbox, bits: Mapping[str, int]) -> None:
        self._outbox = outbox
        self._bits = bits

    def collect(self) -> Iterator[GaugeMetricFamily]:
        samples, batches, oldest, dead = families = (
            _gauge("mlflow_exporter_queue_samples", "Samples that wait for an exporter."),
            _gauge("mlflow_exporter_queue_batches", "Batches that wait for an exporter."),
            _gauge(
                "mlflow_exporter_queue_oldest_timestamp_seconds",
                "When the oldest waiting batch was queued, in Unix time; absent when nothing waits.",
            ),
            _gauge("mlflow_exporter_dead_letter_samples", "Samples that are kept as dead letters."),
        )
        try:
            for name, bit in self._bits.items():
                backlog = self._outbox.backlog(bit)
                samples.add_metric([name], backlog.samples)
                batches.add_metric([name], backlog.batches)
                dead.add_metric([name], backlog.dead_samples)
                if backlog.oldest_ms is not None:
                    oldest.add_metric([name], backlog.oldest_ms / 1000)
        except StateError:
            return
        yield from families


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["exporter"])
