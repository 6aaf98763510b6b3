"""The daemon sends what trainings left in a spool, exports it like everything else, and counts it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.command import Daemon, continuous, run
from tests.tracking.commands import LOGS, LOGS_FOR_EVER
from tests.tracking.conftest import Programs, Truth
from tests.tracking.spools import only_key

_FAST = {"export": {"interval": "0.5s", "max_experiments": 0}, "exporters": {"file": {"path": "samples.jsonl"}}}


@contextmanager
def watching(here: Path, mlflow: Truth, spool: Path) -> Iterator[Daemon]:
    configure(here, mlflow, spool)
    with continuous(cwd=here) as daemon:
        yield daemon


def configure(here: Path, mlflow: Truth, spool: Path, **tracking: object) -> None:
    here.mkdir(exist_ok=True)
    block = {"spool_dir": str(spool), "adopt_after": "0.5s", **tracking}
    whole = {**_FAST, "mlflow": {"tracking_uri": mlflow.server.url}, "tracking": block}
    (here / "config.yaml").write_text(json.dumps(whole))


def spool_metrics(daemon: Daemon) -> dict[str, float]:
    """By name, without the prefix; labels other than ``le`` are left out, of buckets only the last is taken."""
    prefix = "mlflow_exporter_tracking_"
    return {
        sample.name.removeprefix(prefix): sample.value
        for family in text_string_to_metric_families(daemon.get("metrics").text)
        for sample in family.samples
        if sample.name.startswith(prefix) and sample.labels.get("le", "+Inf") == "+Inf"
    }


def exported_steps(here: Path, key: str) -> list[int]:
    if not (here / "samples.jsonl").exists():
        return []
    found = [json.loads(line) for line in (here / "samples.jsonl").read_text().splitlines()]
    return sorted(sample["metadata"]["step"] for sample in found if sample["name"] == key)


def test_a_training_that_was_killed_is_ended_sent_and_exported(
    mlflow: Truth, offline: Programs, tmp_path: Path
) -> None:
    training = offline.start(LOGS_FOR_EVER.replace('"loss"', '"killed/loss"'))
    assert training.stdout is not None
    acknowledged = [int(training.stdout.readline()) for _ in range(200)]
    with watching(tmp_path / "daemon", mlflow, offline.spool) as daemon:
        daemon.wait_for(lambda: spool_metrics(daemon)["points_delivered_total"] >= 100)  # while it goes on
        key = only_key(offline.spool)
        assert mlflow.status(key) == "RUNNING"
        assert spool_metrics(daemon)["open_runs"] == 1
        training.kill()
        acknowledged += [int(line) for line in training.stdout.read().split()]
        training.wait()
        daemon.wait_for(lambda: mlflow.status(key) == "KILLED")
        daemon.wait_for(lambda: spool_metrics(daemon)["open_runs"] == 0)
        points = mlflow.points(key)
        assert [step for _, step, _ in points][: len(acknowledged)] == acknowledged
        daemon.wait_for(lambda: len(exported_steps(tmp_path / "daemon", "killed/loss")) == len(points))
        found = spool_metrics(daemon)
        assert found["points_delivered_total"] == found["latency_seconds_bucket"] == len(points)
        assert (found["experiments_logged_total"], found["runs_adopted_total"]) == (1, 1)
        assert (found["set_aside"], found["points_lost_total"], found["breaker_open"]) == (0, 0, 0)
        assert "oldest_unsent_timestamp_seconds" not in found
    # The run's files are gone; a daemon that starts anew goes on counting.
    with watching(tmp_path / "daemon", mlflow, offline.spool) as daemon:
        daemon.wait_for(lambda: bool(spool_metrics(daemon)))
        again = spool_metrics(daemon)
        assert again.keys() == found.keys()
        counted = ("experiments_logged_total", "runs_adopted_total", "points_delivered_total", "latency_seconds_sum")
        assert [again[name] for name in counted] == [found[name] for name in counted]


def test_export_once_sends_first_what_waits(mlflow: Truth, offline: Programs, tmp_path: Path) -> None:
    offline.run(LOGS.replace('"loss"', '"once/loss"'))
    key = only_key(offline.spool)
    here = tmp_path / "daemon"
    configure(here, mlflow, offline.spool, keep="1h")
    done = run("export-once", cwd=here)
    assert done.code == 0, done.err
    assert mlflow.status(key) == "FINISHED"
    assert exported_steps(here, "once/loss") == [*range(20)]


def test_a_server_that_is_away_holds_nothing_up(offline: Programs, tmp_path: Path) -> None:
    offline.run(LOGS)
    here = tmp_path / "daemon"
    here.mkdir()
    tracking = {"spool_dir": str(offline.spool)}
    whole = {**_FAST, "mlflow": {"tracking_uri": "http://127.0.0.1:9"}, "tracking": tracking}
    (here / "config.yaml").write_text(json.dumps(whole))
    with continuous(cwd=here) as daemon:
        daemon.wait_for(lambda: spool_metrics(daemon)["breaker_open"] == 1)
        found = spool_metrics(daemon)
        assert found["waiting_bytes"] > 0
        assert found["oldest_unsent_timestamp_seconds"] > 0
        assert found["points_delivered_total"] == 0
        assert daemon.stop() == 0


def test_a_spool_for_a_server_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    servers = [{"name": name, "tracking_uri": f"http://{name}.example"} for name in ("a", "b")]
    tracking = {"spool_dir": "spool", "server": "c"}
    (tmp_path / "config.yaml").write_text(json.dumps({"mlflow": servers, "tracking": tracking}))
    done = run("config", "validate", cwd=tmp_path)
    assert done.code == 78
    assert "tracking.server: there is no tracking server of this name: a, b" in done.err


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_monitoring_exporter.config.schema import TrackingConfig

    monkeypatch.setitem(sys.modules, "mlflow_monitoring_tracking", None)
    monkeypatch.setattr("mlflow_monitoring_exporter.config.schema.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"pip install 'mlflow-monitoring-exporter\[tracking\]'"):
        TrackingConfig.model_validate({"spool_dir": "spool"})
    assert TrackingConfig().spool_dir is None


#: What it serves is over in two seconds: four windows, of which the last is cut short by its end.
SERVES = """
    import time
    from tracking_integration import ProductionTracker
    tracker = ProductionTracker(window=0.5)
    tracker.start_production_monitoring("pricing_v1", "pricing_v1_prod", version=3)
    for number in range(200):
        tracker.log_prediction(deployment_id="pricing_v1_prod", prediction=number % 2 == 0, confidence=0.9,
                               input_data={"age": 40.0 + number}, latency_ms=12, error=None if number % 10 else "no")
        time.sleep(0.01)
"""


def test_predictions_are_on_the_daemons_page_and_their_windows_are_a_run(
    mlflow: Truth, offline: Programs, tmp_path: Path
) -> None:
    offline.run(SERVES)

    def page() -> dict[tuple[str, str | None], float]:
        return {
            (
                sample.name,
                next((sample.labels[name] for name in ("outcome", "class", "le") if name in sample.labels), None),
            ): (sample.value)
            for family in text_string_to_metric_families(daemon.get("metrics").text)
            for sample in family.samples
            if sample.labels.get("deployment") == "pricing_v1_prod"
        }

    with watching(tmp_path / "daemon", mlflow, offline.spool) as daemon:
        daemon.wait_for(lambda: bool(page()))
        found = page()
        assert found["mlflow_deployment_predictions_total", "success"] == 180
        assert found["mlflow_deployment_predictions_total", "error"] == 20
        assert found["mlflow_deployment_class_total", "True"] == 100
        assert found["mlflow_deployment_prediction_latency_seconds_bucket", "0.018"] == 200
        assert found["mlflow_deployment_prediction_latency_seconds_bucket", "+Inf"] == 200
        key = only_key(offline.spool)
        daemon.wait_for(lambda: bool(mlflow.runs(key)) and mlflow.status(key) == "FINISHED")
        points = mlflow.points(key)
        assert sum(value for name, _, value in points if name == "predictions") == 200
        assert mlflow.tags(key)["deployment.id"] == "pricing_v1_prod"
        assert {"latency_ms_p95", "confidence_mean", "class_share/True"} <= {name for name, _, _ in points}
        daemon.wait_for(lambda: len(exported_steps(tmp_path / "daemon", "latency_ms_p95")) >= 4)
