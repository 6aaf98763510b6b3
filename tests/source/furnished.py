"""An MLflow store with a little of everything that a reader can meet.

What MLflow must encode itself is written through its API; what is only many is written as rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts.mlflow_server import MlflowServer

ODD_KEYS = ("val/acc", "val acc", "val.acc", "val:acc", "train loss/épocha 1", "точность", "system/cpu_usage")
ODD_NAMES = ("quotes \" and '", "two\nlines", "rocket 🚀 café", "back\\slash {curly} %41")
BULK_RUNS = 1250
LONG_HISTORY = 25_500
STEPLESS = 5000

#: Tags of the experiment "main" that say which values of a metric are better.
HINTS = {
    "mlflow.experiment.primaryMetric.name": "foo",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "False",
    "greater_is_better.val/loss": "true",
}
#: name -> (start, end) of the runs of experiments that test the order of activity, in ms
ACTIVITY: dict[str, Sequence[tuple[int, int | None]]] = {
    "long run that ended last": [(1_000, 9_000)],
    "running since lately": [(8_000, None)],
    "many short ones": [(7_000, 7_500), (7_100, 7_600), (7_200, 7_700), (6_000, 6_100)],
    "old": [(2_000, 2_500)],
    "never ended": [(1_500, None)],
    "empty": [],
}


@dataclass
class Furnished:
    """Ids of what is in the store, by what is special about it."""

    experiments: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def bulk(self) -> str:
        return self.experiments["bulk"]

    @property
    def all_ids(self) -> list[str]:
        return sorted(self.experiments.values(), key=int)


def furnish(server: MlflowServer) -> Furnished:
    store = Furnished()
    names = ("main", "bulk", "gone", *ODD_NAMES, *ACTIVITY)
    for name in names:
        store.experiments[name] = server.post("experiments/create", {"name": name})["experiment_id"]
    _main_runs(server, store)
    _registry(server, store)
    for key, value in (("learning rate", "0.1 ü"), ("layers", "3"), ("empty", "")):
        server.post("runs/log-parameter", {"run_id": store.runs["FINISHED"], "key": key, "value": value})
    for name, context in (("Iris", "training"), ("wine", "evaluation")):
        dataset = {"name": name, "digest": f"{name}1", "source_type": "local", "source": "{}"}
        tags = [{"key": "mlflow.data.context", "value": context}]
        run_id = store.runs["FINISHED" if name == "Iris" else "FAILED"]
        server.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": tags}]})
    server.post("experiments/delete", {"experiment_id": store.experiments.pop("gone")})
    add_bulk_runs(server.database, store.bulk, BULK_RUNS)
    _activity(server.database, store)
    with _writing(server.database) as rows:
        rows.executemany(
            "INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, 'long', ?, ?, ?, 0)",
            ((store.runs["FINISHED"], n // 2, 1_000 + n, n / 7) for n in range(LONG_HISTORY)),
        )
    return store


def create_run(server: MlflowServer, experiment_id: str, name: str, start: int) -> str:
    tags = [{"key": "note", "value": "ü\nand 🚀"}, {"key": "project", "value": name}]
    body = {"experiment_id": experiment_id, "run_name": name, "start_time": start, "tags": tags}
    return str(server.post("runs/create", body)["run"]["info"]["run_id"])


def log(server: MlflowServer, run_id: str, points: Iterable[tuple[str, int, int, float | str]]) -> None:
    """Points are ``(key, step, timestamp, value)``; non-finite values are spelled as JSON must."""
    metrics = [{"key": k, "step": s, "timestamp": t, "value": v} for k, s, t, v in points]
    for at in range(0, len(metrics), 1000):
        server.post("runs/log-batch", {"run_id": run_id, "metrics": metrics[at : at + 1000]})


def add_bulk_runs(database: Path, experiment_id: str, count: int) -> None:
    """Finished runs with one metric each; three of them start in every millisecond."""
    ids = [f"{n:032x}" for n in range(1, count + 1)]
    with _writing(database) as rows:
        rows.executemany(
            "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id)"
            " VALUES (?, ?, '', 'FINISHED', ?, ?, 'active', ?)",
            ((run_id, f"bulk {n}", 10_000 + n // 3, 20_000 + n, int(experiment_id)) for n, run_id in enumerate(ids)),
        )
        for table in ("metrics", "latest_metrics"):
            rows.executemany(
                f"INSERT INTO {table} (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, 'loss', 3, 4, ?, 0)",
                ((run_id, n / 3) for n, run_id in enumerate(ids)),
            )


def _main_runs(server: MlflowServer, store: Furnished) -> None:
    main = store.experiments["main"]
    for tag, value in HINTS.items():
        server.post("experiments/set-experiment-tag", {"experiment_id": main, "key": tag, "value": value})
    server.post(
        "experiments/set-experiment-tag", {"experiment_id": main, "key": "mlflow.note.content", "value": "long"}
    )
    for at, status in enumerate(("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", "deleted", "stepless")):
        run_id = store.runs[status] = create_run(server, main, status, 1_000 + at)
        log(server, run_id, [("loss", step, 5_000 + step, 1 / (step + 1)) for step in range(5)])
        if status in ("SCHEDULED", "FINISHED", "FAILED", "KILLED"):
            server.post("runs/update", {"run_id": run_id, "status": status, "end_time": 9_000 + at})
    server.post("runs/delete", {"run_id": store.runs["deleted"]})
    log(
        server,
        store.runs["RUNNING"],
        [
            ("broken", 0, 5_000, 1.5),
            ("broken", 1, 5_001, "NaN"),
            ("zero and nan", 0, 5_000, "NaN"),
            ("zero and nan", 0, 5_000, 0.0),
            ("exploded", 0, 5_000, "Infinity"),
            ("collapsed", 0, 5_000, "-Infinity"),
            ("backwards", -3, 5_000, -1e-300),
            ("late", 7, 6_000, 7.0),
            ("late", 2, 9_000, 2.0),
            *((key, 1, 5_000, at / 3) for at, key in enumerate(ODD_KEYS)),
        ],
    )
    log(server, store.runs["stepless"], [("x", 0, 5_000 + n, n / 3) for n in range(STEPLESS)])


def _registry(server: MlflowServer, store: Furnished) -> None:
    server.post("registered-models/create", {"name": "churn"})
    for status in ("FINISHED", "FAILED", "KILLED"):
        body = {"name": "churn", "source": "s3://models/churn", "run_id": store.runs[status]}
        server.post("model-versions/create", body)
    for alias in ("champion", "blue"):
        server.post("registered-models/alias", {"name": "churn", "alias": alias, "version": "1"})
    server.post("model-versions/transition-stage", {"name": "churn", "version": "2", "stage": "Production"})


def _activity(database: Path, store: Furnished) -> None:
    with _writing(database) as rows:
        for name, times in ACTIVITY.items():
            rows.executemany(
                "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage,"
                " experiment_id) VALUES (?, 'r', '', ?, ?, ?, 'active', ?)",
                (
                    (
                        f"a{int(store.experiments[name]):015x}{at:016x}",
                        "RUNNING" if end is None else "FINISHED",
                        start,
                        end,
                        int(store.experiments[name]),
                    )
                    for at, (start, end) in enumerate(times)
                ),
            )


class _writing:  # noqa: N801 - reads as a statement
    """A committed transaction on the store, as another process would make it."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, timeout=30)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.commit()
        self._connection.close()
