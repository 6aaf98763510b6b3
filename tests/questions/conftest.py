"""A store with runs that questions have clear answers about."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import pytest

from mlflow_monitoring_exporter.questions import Questions, ask
from tests.parts.mlflow_server import MlflowServer
from tests.parts.run_store import DAY, RunStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """``vision`` has ten runs, one a day, which get better; ``tabular`` has a few; ``empty`` none."""
    made = RunStore(tmp_path_factory.mktemp("questions"))
    vision = made.experiment("vision", {"mlflow.note.content": "cats", "owner": "me"})
    for at in range(10):
        made.run(
            vision,
            name=f"resnet-{at}",
            start=(at + 1) * DAY,
            end=(at + 1) * DAY + 60_000,
            status="FAILED" if at == 4 else "FINISHED",
            metrics={
                "accuracy": [(step, (at + 1) * DAY + step, 0.5 + at / 40 + step / 1000) for step in range(20)],
                "val/loss": 1 - at / 20,
                "f1": float(at % 3),
                "shapeless": float(at),
            },
            params={"lr": str(0.1 / (at + 1)), "model": "resnet" if at % 2 else "vit", "seed": str(at)},
            tags={"team": "vision" if at % 2 else "it's", "mlflow.source.git.commit": "abc"},
            datasets=["cats"],
        )
    tabular = made.experiment("tabular 🚀")
    made.run(tabular, name="nan", start=20 * DAY, metrics={"accuracy": math.nan, "val/loss": math.inf})
    made.run(tabular, name="bare", start=21 * DAY)
    made.run(tabular, name="same", start=22 * DAY, metrics={"accuracy": 0.1}, files={"model/weights.bin": 2 << 30})
    made.run(tabular, name="same", start=23 * DAY, metrics={"accuracy": 0.2}, status="RUNNING", end=None)
    made.experiment("empty")
    _register(made)
    return made


@pytest.fixture(scope="session")
def server(store: RunStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server over the same store."""
    with MlflowServer(tmp_path_factory.mktemp("server"), database=store.path) as running:
        yield running


@pytest.fixture(params=["store", "server"])
def questions(request: pytest.FixtureRequest, store: RunStore) -> Iterator[Questions]:
    uri = store.uri if request.param == "store" else request.getfixturevalue("server").url
    with ask(uri, stop=threading.Event()) as asked:
        yield asked


def _register(store: RunStore) -> None:
    import sqlite3

    with sqlite3.connect(store.path) as rows:
        rows.execute(
            "INSERT INTO registered_models (name, workspace, creation_time, last_updated_time)"
            " VALUES ('churn', 'default', 1, 1)"
        )
        for version, run_id, stage in ((1, store.runs[2], "Production"), (2, store.runs[3], "None"), (3, "", "None")):
            rows.execute(
                "INSERT INTO model_versions (name, version, run_id, current_stage, workspace, status,"
                " creation_time, last_updated_time, source) VALUES ('churn', ?, ?, ?, 'default', 'READY', 1, 1, 's3://x')",
                (version, run_id, stage),
            )
        rows.execute(
            "INSERT INTO registered_model_aliases (name, version, alias, workspace)"
            " VALUES ('churn', 2, 'champion', 'default')"
        )
