"""``pipelines``, ``deployments`` and ``production``: what happens around models, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parts.command import run


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a spool with the sample, sent."""
    made = tmp_path_factory.mktemp("around")
    (made / "config.yaml").write_text("tracking: {spool_dir: spool}\nexporters: {file: {}}\n")
    done = run("generate-sample", "--production", "--runs", "3", cwd=made)
    assert (done.code, done.out.splitlines()[1]) == (0, "wrote 24000 predictions to spool")
    assert run("export-once", cwd=made).code == 0
    return made


def said(here: Path, *command: str) -> Any:
    done = run(*command, "--output", "json", cwd=here)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_pipelines_are_listed_and_shown(here: Path) -> None:
    [row] = said(here, "pipelines", "list")
    assert (row["pipeline"], row["status"], row["expected_records"]) == ("daily_customers", "FINISHED", 10_000)
    assert 9_900 < row["records"] < 10_000
    assert row["last_success"].startswith("20")
    shown = said(here, "pipelines", "show", "daily_customers")
    assert [stage["stage"] for stage in shown["stages"]] == ["cleaning", "extraction", "features"]
    assert {check["dimension"] for check in shown["quality"]} == {"accuracy", "completeness", "consistency"}
    table = run("pipelines", "list", cwd=here).out
    assert "daily_customers" in table
    assert "server" not in table, "there is one without a name"
    done = run("pipelines", "show", "nothing", cwd=here)
    assert (done.code, done.err) == (
        1,
        "error: there is no execution of a pipeline nothing with stages or checks; pipelines list shows all\n",
    )


def test_deployments_are_listed(here: Path) -> None:
    [row] = said(here, "deployments", "list")
    assert (row["model"], row["environment"], row["version"]) == ("churn-classifier", "production", "3")
    assert (row["status"], row["rollouts"], row["failed"], row["rollbacks"]) == ("FINISHED", 4, 1, 1)
    assert row["lead_time_seconds"] > 3_000
    assert row["time_to_restore_seconds"] >= 0


def test_production_is_what_was_predicted(here: Path) -> None:
    [row] = said(here, "production", "status")
    assert (row["deployment"], row["model"], row["version"]) == ("churn-production", "churn-classifier", "3")
    assert (row["predictions"], 0 < row["errors"] < 300) == (24_000, True)
    assert 5 < row["p50_ms"] < row["p95_ms"] < row["p99_ms"] < 100
    assert said(here, "production", "status", "--deployment", "churn-production") == [row]
    done = run("production", "status", "--deployment", "none", cwd=here)
    assert (done.code, done.err) == (1, "error: no deployment none has predicted anything in spool\n")


def test_what_is_needed_is_said(tmp_path: Path) -> None:
    done = run("production", "status", cwd=tmp_path)
    assert (done.code, done.err) == (
        78,
        "error: tracking.spool_dir: is not set: the directory that serving programs log to\n",
    )
    done = run("pipelines", "list", "--tracking-uri", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.code == 1
    assert "127.0.0.1:9" in done.err
