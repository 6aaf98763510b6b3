"""``alerts history`` shows what the tracking library kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_monitoring_tracking.alerts import AlertManager
from mlflow_monitoring_tracking.tracker import ExperimentTracker
from tests.parts.command import run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("tracking: {spool_dir: spool}\n")
    alerts = AlertManager(ExperimentTracker({"tracking_dir": str(tmp_path / "spool")}))
    assert alerts.alert_threshold("latency_ms", 1200.0, 1000.0)
    assert not alerts.alert_threshold("latency_ms", 1300.0, 1000.0), "within the cooldown"
    assert alerts.alert_processing_failure("ingestion", "disk full\x1b[31m")
    with (tmp_path / "spool/alerts.json").open("a") as file:
        old = {"at_ms": 1, "kind": "k", "subject": "old", "severity": "info", "message": "m"}
        file.write(json.dumps(old) + "\n" + json.dumps([1]) + '\n{"at_ms": "soon"}\n{"at_ms": 2, "ki')
    return tmp_path


def test_the_newest_come_last_and_old_ones_when_asked_for(here: Path) -> None:
    done = run("alerts", "history", "--output", "json", cwd=here)
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    assert [(row["subject"], row["severity"]) for row in rows] == [("latency_ms", "warning"), ("ingestion", "critical")]
    assert rows[0]["message"] == "latency_ms is 1200, above 1000"
    assert rows[0]["more"] == "value=1200.0, threshold=1000.0"
    every = json.loads(run("alerts", "history", "--last-hours", "0", "--output", "json", cwd=here).out)
    assert [row["subject"] for row in every] == ["latency_ms", "ingestion", "old"]


def test_people_get_a_table_and_a_summary(here: Path) -> None:
    done = run("alerts", "history", cwd=here)
    assert "1 critical, 1 warning, 0 info" in done.out
    assert "\x1b" not in done.out
    only = run("alerts", "history", "--subject", "ingestion", cwd=here)
    assert "latency_ms" not in only.out
    assert "none was told" in run("alerts", "history", "--subject", "x", cwd=here).out


def test_of_models_in_production(here: Path) -> None:
    alerts = AlertManager(ExperimentTracker({"tracking_dir": str(here / "spool")}))
    assert alerts.alert_model_degradation("churn-production", "accuracy", 0.7, 0.9)
    rows = json.loads(run("production", "alerts", "--output", "json", cwd=here).out)
    assert [row["kind"] for row in rows] == ["threshold", "model_degradation"]
    done = run("production", "alerts", "--deployment", "churn-production", "--output", "json", cwd=here)
    assert [row["subject"] for row in json.loads(done.out)] == ["churn-production accuracy"]


def test_what_is_needed_is_said(tmp_path: Path) -> None:
    done = run("alerts", "history", cwd=tmp_path)
    assert (done.code, done.err) == (
        78, "error: tracking.spool_dir: is not set; name the file behind the command\n",
    )  # fmt: skip
    assert run("alerts", "history", "none.json", cwd=tmp_path).code == 0
