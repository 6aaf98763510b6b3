"""What MLflow remembers, by way of a file and promtool, in a real Prometheus."""

from __future__ import annotations

import json
import math
import subprocess
import time
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.app.backfill import _seconds
from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected
from tests.parts.command import run
from tests.parts.programs import need
from tests.parts.prometheus_server import prometheus
from tests.platforms.conftest import SampleStore


def backfill(here: Path, store: str, *arguments: str) -> str:
    done = run("backfill", "--tracking-uri", store, *arguments, cwd=here)
    assert done.code == 0, done.err
    return done.out


def make_blocks(file: Path, to: Path) -> None:
    command = [need("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(file), str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_blocks_of_the_file_answer_a_range_query_as_mlflow_does(sample_store: SampleStore, tmp_path: Path) -> None:
    out = backfill(tmp_path, sample_store.uri, "--to", "all.om", "--label", "cluster=a")
    truth = sample_store.truth()
    points = sum(map(len, truth.values()))
    assert f"all.om: {points} samples of {len(truth)} series, 24 runs" in out
    make_blocks(tmp_path / "all.om", tmp_path / "tsdb")
    names = sample_store.names()
    with prometheus(tmp_path, {}) as server:
        found = server.raw('{job="mlflow_metrics"}')
        assert len(found) == len(truth)
        for labels, values in found.items():
            by_name = dict(labels)
            run_id, key = by_name["run_id"], by_name["metric"]
            assert (by_name["experiment_name"], by_name["cluster"]) == (names[run_id], "a")
            assert [at for at, _ in values] == [row.timestamp_ms for row in truth[run_id, key]]
            for (_, value), row in zip(values, truth[run_id, key], strict=True):
                assert value == row.value or (math.isnan(value) and math.isnan(row.value))
        (run_id, key), rows = max(
            (item for item in truth.items() if item[0][1] == "val/loss"), key=lambda item: len(item[1])
        )
        begin, end = rows[0].timestamp_ms // 1000 + 1, rows[-1].timestamp_ms // 1000 + 1
        asked: dict[str, str | int] = {
            "query": f'mlflow_val_loss{{run_id="{run_id}"}}',
            "start": begin,
            "end": end,
            "step": 1,
        }
        answer = requests.get(f"{server.url}/api/v1/query_range", params=asked, timeout=30).json()
        (series,) = answer["data"]["result"]
        for at, value in series["values"]:
            latest = next(row for row in reversed(rows) if row.timestamp_ms <= at * 1000)
            assert float(value) == latest.value


def test_the_file_holds_only_what_is_selected_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    from mlflow.entities import Metric

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    now = int(time.time() * 1000)
    with connected(MlflowConfig(tracking_uri=store)) as client:
        for name in ("one", "two"):
            run_id = client.create_run(client.create_experiment(name)).info.run_id
            points = [Metric("loss", at / 2, now - at * 86_400_000, at) for at in range(5)]
            points += [Metric("loss", 9.5, now + 86_400_000, 10)]
            points += [Metric("acc", 0.5, now, 1), Metric("acc", 0.25, now, 2), Metric("sys/x", 1.0, now, 1)]
            client.log_batch(run_id, metrics=points)
    chosen = ("--set", "export.experiments.include=one", "--set", "export.metrics.exclude=sys/*")
    out = backfill(tmp_path, store, *chosen, "--set", "export.since=60h")
    assert "mlflow.om: 5 samples of 2 series, 1 run" in out
    assert "left out: 1 sample whose time is in the future" in out
    lines = (tmp_path / "mlflow.om").read_text().splitlines()
    assert lines[-1] == "# EOF"
    assert [line.rsplit(" ", 2)[1] for line in lines if line[0] != "#"] == ["0.5", "0.25", "1.0", "0.5", "0.0"]
    assert len({line.rsplit(" ", 1)[1] for line in lines if line.startswith("mlflow_acc")}) == 2, "one value for a time"
    make_blocks(tmp_path / "mlflow.om", tmp_path / "tsdb")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "mlflow.om").write_text("old")
    done = run("backfill", "--tracking-uri", "http://127.0.0.1:1", cwd=tmp_path)
    assert done.code == 1
    assert "connection refused" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.om"]
    assert (tmp_path / "mlflow.om").read_text() == "old"


@pytest.mark.parametrize(
    ("label", "reason"),
    [("a", "'a' is not NAME=VALUE"), ("run_id=a", "'run_id' is a label already"), ("ä=a", "is not a label")],
)
def test_a_label_that_cannot_be_is_refused(label: str, reason: str, tmp_path: Path) -> None:
    done = run("backfill", "--label", label, cwd=tmp_path)
    assert (done.code, done.err.splitlines()[0][: len(reason) + 16]) == (78, f"error: --label: {reason}"), done.err


@given(st.integers(0, 2**45))
def test_a_time_is_itself_when_prometheus_has_read_it(timestamp_ms: int) -> None:
    text = _seconds(timestamp_ms)
    assert int(float(text) * 1000) == timestamp_ms
    assert round(float(text) * 1000) == timestamp_ms


def test_exporters_list_names_all_with_their_mode_for_people_and_machines(tmp_path: Path) -> None:
    shown = run("exporters", "list", cwd=tmp_path)
    listed = json.loads(run("exporters", "list", "--output", "json", cwd=tmp_path).out)
    assert shown.code == 0
    assert [line.split()[:2] for line in shown.out.splitlines()[1:]] == [[one["name"], one["mode"]] for one in listed]
    assert {"remote_write", "otlp", "file"} <= {one["name"] for one in listed}
    assert all(one["problem"] is None and one["origin"] == "built in" for one in listed)
