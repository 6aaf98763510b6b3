"""Deployments of versions: begun and ended by any process, taken back, and told wrongly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mlflow_monitoring_tracking import ModelDeploymentTracker
from tests.tracking.conftest import Programs
from tests.tracking.spools import keys, openings, params, points, statuses, tags


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    return {"tracking_dir": str(tmp_path), "mode": "offline"}


@pytest.fixture
def offline(tmp_path: Path) -> Programs:
    return Programs(tmp_path, {"TRACKING_MODE": "offline"})


def test_a_deployment_is_a_run_that_another_tracker_ends(config: dict[str, str], tmp_path: Path) -> None:
    key = ModelDeploymentTracker(config).start(
        "team/pricing", 7, "eu/production", user_id="ada", strategy="canary", version_created_at=time.time() - 60
    )
    ModelDeploymentTracker(config).fail("team/pricing", 7, "eu/production", error=TimeoutError("p95"), pods=3)
    spool = tmp_path / "spool"
    assert keys(spool) == [key]
    assert {(one.experiment, one.run_name) for one in openings(spool)} == {("rollouts/eu-production/team/pricing", "7")}
    assert statuses(spool) == ["FAILED"]
    assert params(spool) == {"strategy": "canary", "pods": "3"}
    [first, *_] = openings(spool)
    said = {**first.tags, **tags(spool)}
    assert said["deployment.user"] == "ada"
    assert said["deployment.kind"] == "deploy"
    assert said["deployment.error"] == "TimeoutError: p95"
    values = {point.key: point.value for point in points(spool)}
    assert 59 < values["lead_time_seconds"] < 200
    assert 0 <= values["duration_seconds"] < 200
    # The same version again is another deployment.
    assert ModelDeploymentTracker(config).start("team/pricing", 7, "eu/production") != key


def test_the_end_of_a_process_is_no_end_of_a_deployment(offline: Programs) -> None:
    begin = "from tracking_integration import ModelDeploymentTracker as T; T().start('pricing', 7); {}"
    offline.run(begin.format(""))
    assert statuses(offline.spool) == []
    offline.run("from tracking_integration import ModelDeploymentTracker as T; T().succeed('pricing', 7)")
    assert statuses(offline.spool) == ["FINISHED"]
    offline.run(begin.format("T().fail('pricing', 7)"))
    assert sorted(tuple(statuses(offline.spool, key)) for key in keys(offline.spool)) == [("FAILED",), ("FINISHED",)]


def test_a_rollback_is_a_run_of_its_own(config: dict[str, str], tmp_path: Path) -> None:
    key = ModelDeploymentTracker(config).rollback("pricing", 6, from_version=7, reason="errors")
    spool = tmp_path / "spool"
    [opened] = openings(spool, key)
    assert (opened.experiment, opened.run_name) == ("rollouts/production/pricing", "6")
    assert opened.tags.items() >= {
        ("deployment.kind", "rollback"),
        ("deployment.from_version", "7"),
        ("deployment.reason", "errors"),
    }
    assert statuses(spool, key) == ["FINISHED"]
    assert [(point.key, point.value) for point in points(spool, key)] == [("rollback", 1.0)]


@pytest.mark.parametrize("left", [None, "", "{}", '{"run_key": 3, "began": "yesterday"}'])
def test_an_end_without_a_known_start_is_recorded_all_the_same(
    left: str | None, config: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if left is not None:
        ModelDeploymentTracker(config).start("pricing", 7)
        [path] = (tmp_path / "spool" / ".rollouts").iterdir()
        path.write_text(left)
    before = set(keys(tmp_path / "spool"))
    ModelDeploymentTracker(config).succeed("pricing", 7)
    assert "the start of pricing 7 in production is not known" in caplog.text
    assert any(statuses(tmp_path / "spool", key) == ["FINISHED"] for key in set(keys(tmp_path / "spool")) - before)
