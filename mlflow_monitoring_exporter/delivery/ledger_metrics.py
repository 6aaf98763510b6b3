"""What became of every sample, asked of the state itself at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import Ledger, ledgers

_COUNTERS = {
    "enqueued": ("mlflow_exporter_samples_enqueued", "Samples that were queued for an exporter."),
    "delivered": ("mlflow_exporter_samples_delivered", "Samples that a platform acknowledged."),
    "dead_lettered": (
        "mlflow_exporter_samples_dead_lettered",
        "Samples that a platform refused, or always failed for.",
    ),
}
_GAUGES = {
    "queued": ("mlflow_exporter_queue_samples", "Samples that wait for an exporter."),
    "queued_batches": ("mlflow_exporter_queue_batches", "Batches that wait for an exporter."),
    "queued_bytes": ("mlflow_exporter_queue_bytes", "Bytes of the batches that wait for an exporter."),
    "dead": ("mlflow_exporter_dead_letter_samples", "Samples that are kept as dead letters."),
}


class LedgerMetrics(Collector):
    """The ledgers of ``names``, in one consistent view, so that

    ``enqueued = delivered + queue + dead letters + dropped`` holds at every scrape. They are counted
    since the state file was made, and go on after a restart. Without a readable state, nothing.
    """

    def __init__(self, database: Database, names: Collection[str], counts: Callable[[], bool] = lambda: True) -> None:
        """``counts`` says whether to show them: of many replicas, which share them, one does."""
        self._database = database
        self._names = frozenset(names)
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        if not self._counts():
            return
        try:
            found = [ledger for ledger in ledgers(self._database) if ledger.name in self._names]
        except StateError:
            return
        for field, (name, text) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["exporter"])
            for ledger in found:
                counter.add_metric([ledger.name], getattr(ledger, field))
            yield counter
        for field, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["exporter"])
            for ledger in found:
                gauge.add_metric([ledger.name], getattr(ledger, field))
            yield gauge
        yield _dropped(found)
        yield _oldest(found)


def _dropped(found: list[Ledger]) -> Metric:
    counter = CounterMetricFamily(
        "mlflow_exporter_samples_dropped",
        "Samples that are lost on purpose: purged from the dead letters, or overflowed from a full queue.",
        labels=["exporter", "reason"],
    )
    for ledger in found:
        counter.add_metric([ledger.name, "purged"], ledger.purged)
        counter.add_metric([ledger.name, "overflow"], ledger.overflowed)
    return counter


def _oldest(found: list[Ledger]) -> Metric:
    gauge = GaugeMetricFamily(
        "mlflow_exporter_queue_oldest_timestamp_seconds",
        "When the oldest waiting batch was queued, in Unix time; absent when nothing waits.",
        labels=["exporter"],
    )
    for ledger in found:
        if ledger.oldest_ms is not None:
            gauge.add_metric([ledger.name], ledger.oldest_ms / 1000)
    return gauge
