"""Every example does what it says."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracking.commands import tracking_spool
from tests.tracking.conftest import Programs, Truth, environment
from tests.tracking.spools import only_key

_EXAMPLES = Path(__file__).parents[2] / "examples" / "tracking"


def test_no_example_is_forgotten() -> None:
    tested = {"basic", "batch_logging", "custom_backend", "grid_search", "offline", "outage", "ranks"}
    assert {path.stem for path in _EXAMPLES.glob("*.py")} == tested


def run(online: Programs, name: str, **env: str) -> None:
    done = subprocess.run(
        [sys.executable, str(_EXAMPLES / f"{name}.py")],
        cwd=online.here,
        env=environment(**online.env, **env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_basic(mlflow: Truth, online: Programs) -> None:
    run(online, "basic")
    key = only_key(online.spool)
    assert len(mlflow.points(key, "val_loss")) == 30
    assert {"accuracy", "f1"} <= {name for name, _, _ in mlflow.points(key)}
    assert mlflow.params(key)["C"] == "0.5"
    assert mlflow.status(key) == "FINISHED"


def test_grid_search(mlflow: Truth, online: Programs) -> None:
    run(online, "grid_search")
    key = only_key(online.spool)
    assert len(mlflow.points(key, "cv_score")) == 9
    best = mlflow.tags(key)["best_step"]
    assert (mlflow.params(key)[f"step_{best}_max_depth"], mlflow.params(key)[f"step_{best}_eta"]) == ("5", "0.1")


def test_batch_logging(mlflow: Truth, online: Programs) -> None:
    run(online, "batch_logging")
    assert len(mlflow.points(only_key(online.spool))) == 50 * 200


def test_custom_backend(mlflow: Truth, online: Programs) -> None:
    run(online, "custom_backend")
    with (online.here / "metrics.csv").open() as file:
        rows = [row for row in csv.reader(file) if row[1] in {"learning_rate", "loss"}]
    assert rows == [
        ["param", "learning_rate", "", "0.01"],
        *(["metric", "loss", str(s), str(1 / (s + 1))] for s in range(10)),
    ]
    assert len(mlflow.points(only_key(online.spool), "loss")) == 10


def test_offline(mlflow: Truth, online: Programs) -> None:
    run(online, "offline")
    key = only_key(online.spool)
    assert mlflow.runs(key) == []
    tracking_spool(online.here, "sync", "tracking", env=online.env)
    assert len(mlflow.points(key, "loss")) == 100


def test_ranks(mlflow: Truth, online: Programs) -> None:
    for rank in range(4):
        run(online, "ranks", RANK=str(rank), WORLD_SIZE="4", TRACKING_RUN_KEY="the-job")
    tracking_spool(online.here, "sync", "tracking", env=online.env)  # what a busy machine had no time for
    assert len(mlflow.points("the-job")) == 4 * 5 + 5
    assert mlflow.params("the-job")["world_size"] == "4"
    assert mlflow.status("the-job") == "FINISHED"


@pytest.mark.timeout(300)
def test_outage(tmp_path: Path) -> None:
    command = [sys.executable, str(_EXAMPLES / "outage.py"), str(tmp_path / "demo")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MLflow has 40 of 40 points" in done.stdout
