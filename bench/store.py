"""A large MLflow store, written by bulk SQL into tables that mlflow itself created.

Every run has ``metrics`` keys; on the first ``deep`` runs each key has ``steps`` points, on the
others one. The last ``running`` runs are RUNNING.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected

_KEYS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1", "lr", "grad_norm", "epoch_seconds")
_TAGS = {
    "mlflow.user": "me",
    "mlflow.source.name": "/home/me/project/train.py",
    "mlflow.source.type": "LOCAL",
    "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567",
    "project": "demo",
    "stage": "staging",
    "owner": "somebody",
}
_PAIR = ("run_uuid", "key", "value")
_POINT = (*_PAIR, "timestamp", "step", "is_nan")
_EXPERIMENT = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time")
_RUN = (
    *("run_uuid", "experiment_id", "name", "user_id", "status", "start_time", "end_time"),
    *("lifecycle_stage", "artifact_uri"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    runs: int
    metrics: int = 20
    params: int = 10
    experiments: int = 20
    running: int = 10
    deep: int = 0
    steps: int = 1000
    only_step: int = 0
    """The step of a point that is the only one of its series."""


def key(number: int) -> str:
    """The name of metric ``number``."""
    return _KEYS[number] if number < len(_KEYS) else f"extra/metric_{number}"


def store(directory: Path, size: Size) -> Path:
    """The store of this size, made now or by an earlier benchmark."""
    name = "-".join(str(getattr(size, field)) for field in Size.__slots__)
    path = directory / f"store-{name}.db"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        with connected(MlflowConfig(tracking_uri=f"sqlite:///{unfinished}")):
            pass  # the tables are MLflow's own
        _fill(unfinished, size)
        unfinished.rename(path)
    return path


def _fill(path: Path, size: Size) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    now = int(time.time() * 1000)
    for table, columns, rows in (
        ("experiments", _EXPERIMENT, _experiments(size, now)),
        ("runs", _RUN, _runs(size, now)),
        ("tags", _PAIR, _tags(size)),
        ("params", _PAIR, _params(size)),
        ("metrics", _POINT, _points(size, now, every=True)),
        ("latest_metrics", _POINT, _points(size, now, every=False)),
    ):
        insert = f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"
        while chunk := list(islice(rows, 100_000)):
            connection.executemany(insert, chunk)
    connection.execute("COMMIT")
    connection.close()


def _run_id(number: int) -> str:
    return f"{random.Random(number).getrandbits(128):032x}"


def _started(number: int, size: Size, now: int) -> int:
    return now - 90 * 86_400_000 + number * (90 * 86_400_000 // size.runs)


def _experiments(size: Size, now: int) -> Iterator[tuple[object, ...]]:
    for number in range(1, size.experiments + 1):
        yield number, f"experiment-{number:03d}", "artifacts", "active", now, now


def _runs(size: Size, now: int) -> Iterator[tuple[object, ...]]:
    for number in range(size.runs):
        start = _started(number, size, now)
        running = number >= size.runs - size.running
        status = "RUNNING" if running else ("FAILED" if number % 20 == 0 else "FINISHED")
        experiment = 1 + number % size.experiments
        end = None if running else min(start + 600_000, now)
        yield _run_id(number), experiment, f"run-{number}", "me", status, start, end, "active", "artifacts"


def _tags(size: Size) -> Iterator[tuple[str, str, str]]:
    for number in range(size.runs):
        yield _run_id(number), "mlflow.runName", f"run-{number}"
        for name, value in _TAGS.items():
            yield _run_id(number), name, value


def _params(size: Size) -> Iterator[tuple[str, str, str]]:
    for number in range(size.runs):
        for param in range(size.params):
            yield _run_id(number), f"param_{param}", str(number * param)


def _points(size: Size, now: int, *, every: bool) -> Iterator[tuple[object, ...]]:
    for number in range(size.runs):
        run_id, start = _run_id(number), _started(number, size, now)
        steps = size.steps if number < size.deep else 1
        for metric in range(size.metrics):
            for step in range(0 if every else steps - 1, steps) if steps > 1 else (size.only_step,):
                yield run_id, key(metric), (number + step) / 7, start + step, step, 0
