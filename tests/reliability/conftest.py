"""Short versions by default; the long ones with RELIABILITY=long (`make test-reliability`)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected
from tests.parts.strict_peer import StrictPeer, strict_peer

LONG = os.environ.get("RELIABILITY") == "long"


def scaled(short: int, long: int) -> int:
    return long if LONG else short


class Store:
    """An SQLite MLflow store that grows, and the truth about what is in it."""

    def __init__(self, path: Path) -> None:
        self.uri = f"sqlite:///{path}"
        self.truth: set[tuple[str, str, int, float]] = set()
        self._steps: dict[tuple[str, str], int] = {}
        with connected(MlflowConfig(tracking_uri=self.uri)) as client:
            experiment = client.create_experiment("reliability")
            self.runs = [client.create_run(experiment).info.run_id for _ in range(3)]

    def log(self, count: int) -> None:
        """``count`` new points on each of two keys of each run."""
        from mlflow.entities import Metric

        with connected(MlflowConfig(tracking_uri=self.uri)) as client:
            for run_id in self.runs:
                points = []
                for key in ("loss", "val/accuracy"):
                    first = self._steps.get((run_id, key), 0)
                    self._steps[run_id, key] = first + count
                    for step in range(first, first + count):
                        value = random.random()
                        points.append(Metric(key, value, int(time.time() * 1000), step))
                        self.truth.add((run_id, key, step, value))
                for at in range(0, len(points), 1000):
                    client.log_batch(run_id, metrics=points[at : at + 1000])


def arrived(peer: StrictPeer) -> list[tuple[str, str, int, float]]:
    """What the sink has, batches with one id counted once."""
    return [
        (sample["metadata"]["run_id"], sample["name"], sample["metadata"]["step"], sample["value"])
        for sample in peer.samples
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "mlflow.db")


@pytest.fixture
def peer() -> Iterator[StrictPeer]:
    with strict_peer() as running:
        yield running


def sending(store: Store, peer: StrictPeer) -> dict[str, str]:
    """The environment of an exporter between the two."""
    return {
        "MLFLOW_TRACKING_URI": store.uri,
        "PRAMATHUS_ENDPOINT": peer.url,
        "PRAMATHUS_API_KEY": peer.token,
        "PRAMATHUS_ENABLED": "true",
        "MLFLOW_EXPORTER_EXPORTERS__FILE__ENABLED": "false",
        "MLFLOW_EXPORTER_EXPORT__INTERVAL": "200ms",
    }
