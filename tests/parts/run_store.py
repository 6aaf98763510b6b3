"""An SQLite MLflow store whose runs are written as rows: any times, ids and values, in milliseconds."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected

HOUR, DAY = 3_600_000, 86_400_000
_MOST = 1.7976931348623157e308

#: Values of one metric: one value, or ``(step, time in ms, value)`` for each point.
Values = float | Sequence[tuple[int, int, float]]


class RunStore:
    """``uri`` is the store; ``runs`` are the ids of all runs that were added, in their order."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mlflow.db"
        self.uri = f"sqlite:///{self.path}"
        self.runs: list[str] = []
        self._artifacts = directory / "artifacts"
        with connected(MlflowConfig(tracking_uri=self.uri)) as client:
            client.search_experiments()

    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> int:
        with sqlite3.connect(self.path) as rows:
            made = rows.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time,"
                " workspace) VALUES (?, '', 'active', 1, 1, 'default')",
                (name,),
            ).lastrowid
            assert made is not None
            rows.executemany(
                "INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?, ?, ?)",
                ((made, key, value) for key, value in (tags or {}).items()),
            )
        return made

    def run(
        self,
        experiment: int,
        *,
        name: str | None = None,
        status: str = "FINISHED",
        start: int | None = 1_000_000,
        end: int | None = 2_000_000,
        metrics: Mapping[str, Values] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[str] = (),
        files: Mapping[str, int] | None = None,
    ) -> str:
        run_id = f"{len(self.runs) + 1:032x}"
        self.runs.append(run_id)
        called = f"run-{len(self.runs)}" if name is None else name
        place = self._artifacts / run_id
        for path, size in (files or {}).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            with (place / path).open("wb") as file:
                file.truncate(size)  # no byte of it is on the disk
        with sqlite3.connect(self.path) as rows:
            rows.execute(
                "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage,"
                " experiment_id, artifact_uri) VALUES (?, ?, 'me', ?, ?, ?, 'active', ?, ?)",
                (run_id, called, status, start, end, experiment, str(place)),
            )
            for key, values in (metrics or {}).items():
                points = [(0, start or 0, values)] if isinstance(values, int | float) else values
                stored = [(run_id, key, step, when, *_stored(value)) for step, when, value in points]
                for table, which in (("metrics", stored), ("latest_metrics", [max(stored, key=lambda p: p[2:4])])):
                    rows.executemany(
                        f"INSERT INTO {table} (run_uuid, key, step, timestamp, value, is_nan)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        which,
                    )
            for table, pairs in (("params", params), ("tags", {"mlflow.runName": called, **(tags or {})})):
                rows.executemany(
                    f"INSERT INTO {table} (run_uuid, key, value) VALUES (?, ?, ?)",
                    ((run_id, key, value) for key, value in (pairs or {}).items()),
                )
            for dataset in datasets:
                rows.execute(
                    "INSERT OR IGNORE INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type,"
                    " dataset_source) VALUES (?, ?, ?, 'd1', 'local', '{}')",
                    (dataset, experiment, dataset),
                )
                rows.execute(
                    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)"
                    " VALUES (?, 'DATASET', ?, 'RUN', ?, 0)",
                    (f"{dataset} {run_id}"[:36], dataset, run_id),
                )
        return run_id


def _stored(value: float) -> tuple[float, int]:
    """As MLflow keeps what is not finite."""
    if math.isnan(value):
        return 0.0, 1
    return (math.copysign(_MOST, value) if math.isinf(value) else value), 0
