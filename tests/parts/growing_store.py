"""An MLflow store that grows, what a sink has of it, and the truth about both."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected
from tests.parts.strict_peer import StrictPeer


class Store:
    """An SQLite MLflow store, with some experiments and some runs in each."""

    def __init__(self, path: Path, *, experiments: int = 1, runs: int = 3) -> None:
        self.path = path
        self.uri = f"sqlite:///{path}"
        self.truth: set[tuple[str, str, int, float]] = set()
        self._steps: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self.runs: list[str] = []
        with connected(MlflowConfig(tracking_uri=self.uri)) as client:
            for number in range(experiments):
                experiment = client.create_experiment(f"reliability {number}")
                self.runs += [client.create_run(experiment).info.run_id for _ in range(runs)]
        # Kept, because ``connected`` changes os.environ, which no thread may do while another one starts a process.
        self._client = client

    def log(self, count: int, *, runs: int | None = None) -> None:
        """``count`` new points on each of two keys of each run, or of ``runs`` that are chosen by chance."""
        from mlflow.entities import Metric

        for run_id in self.runs if runs is None else random.sample(self.runs, runs):
            points = []
            for key in ("loss", "val/accuracy"):
                first = self._steps.get((run_id, key), 0)
                self._steps[run_id, key] = first + count
                for step in range(first, first + count):
                    value = random.random()
                    points.append(Metric(key, value, int(time.time() * 1000), step))
                    with self._lock:
                        self.truth.add((run_id, key, step, value))
            for at in range(0, len(points), 1000):
                self._client.log_batch(run_id, metrics=points[at : at + 1000])


def arrived(peer: StrictPeer) -> list[tuple[str, str, int, float]]:
    """What the sink has, batches with one id counted once."""
    return [
        (sample["metadata"]["run_id"], sample["name"], sample["metadata"]["step"], sample["value"])
        for sample in peer.samples
    ]


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
