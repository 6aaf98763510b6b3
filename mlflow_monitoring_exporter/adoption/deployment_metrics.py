"""``mlflow_deployment_*``: what the processes that serve models counted in the spool, as it is with each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mlflow_monitoring_tracking.production.exposition import families
from mlflow_monitoring_tracking.production.places import ProductionDirectory


class DeploymentMetrics(Collector):
    """``counts`` says whether to show them: of many replicas that share a spool, one does."""

    def __init__(self, spool: Path, counts: Callable[[], bool]) -> None:
        self._place = ProductionDirectory.of(spool)
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        if not self._counts():
            return
        try:
            found = families(self._place)
        except OSError:  # the log says what is wrong with the spool
            return
        for family in found:
            # The client appends to a counter's name what OpenMetrics wants there.
            metric = Metric(family.name.removesuffix("_total"), family.help, family.type)
            for suffix, labels, value in family.samples:
                metric.add_sample(f"{family.name}{suffix}", dict(labels), value)
            yield metric
