"""A scripted MLflow, a real state database, and polls between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig
from mlflow_monitoring_exporter.core.values import Sample, Snapshot
from mlflow_monitoring_exporter.pipeline.poll import Poller
from mlflow_monitoring_exporter.pipeline.queues import Queue
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.projection import SampleProjection
from tests.parts.gauges import metrics
from tests.parts.scripted_mlflow import Mlflow


@dataclass
class World:
    mlflow: Mlflow
    database: Database
    outbox: Outbox
    stop: threading.Event = field(default_factory=threading.Event)
    snapshots: list[Snapshot] = field(default_factory=list)
    wakes: int = 0
    read: list[int] = field(default_factory=list)
    loading: list[int] = field(default_factory=list)
    sending: list[tuple[int, int]] = field(default_factory=list)
    max_bytes: int = 10**9
    drop_oldest: bool = False
    gauges: GaugesConfig = field(default_factory=GaugesConfig)
    views: dict[str, SampleProjection] = field(default_factory=dict)
    """Of those that do not get everything."""

    def wake(self) -> None:
        self.wakes += 1

    def poller(self, *names: str, **config: object) -> Poller:
        views = {name: self.views.get(name, SampleProjection()) for name in names}
        ids = self.outbox.register(names, selections={name: view.selection for name, view in views.items()})
        return build_poller(
            self.mlflow,
            ExportConfig.model_validate(config),
            gauges=self.gauges,
            database=self.database,
            queues=[Queue(name, ids[name], 10, self.max_bytes, views[name], self.drop_oldest) for name in names],
            events=PollEvents(
                self.snapshots.append,
                self.wake,
                self.read.append,
                self.loading.append,
                lambda done, total: self.sending.append((done, total)),
            ),
            stop=self.stop,
        )

    def steps(self, name: str) -> list[int]:
        """Steps of everything that waits for ``name``; takes it out of the queue."""
        return [sample.step for sample in self.samples(name)]

    def samples(self, name: str) -> list[Sample]:
        """Everything that waits for ``name``; takes it out of the queue."""
        selection = self.views.get(name, SampleProjection()).selection
        queue = self.outbox.register([name], selections={name: selection})[name]
        found: list[Sample] = []
        while (head := self.outbox.head(queue)) is not None:
            found += head.batch.samples
            self.outbox.acknowledge(head)
        return found

    def shown(self) -> dict[tuple[str, str], float]:
        """``(run, key) -> value`` of the newest snapshot."""
        return {(labels["run_id"], labels["metric"]): value for labels, value in metrics(self.snapshots[-1])}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    yield World(Mlflow(), database, Outbox(database))
    database.close()
