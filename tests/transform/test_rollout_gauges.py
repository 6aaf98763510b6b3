"""Gauges of deployments: of the one that began last, and how often they happen, fail and are taken back."""

from __future__ import annotations

from dataclasses import replace

from mlflow_monitoring_exporter.core.values import RunGauges
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts, Facts
from tests.parts.gauges import of_family
from tests.transform.test_gauges import gauges, run

EXPERIMENTS = {"1": ExperimentFacts("rollouts/staging/team/pricing"), "2": ExperimentFacts("my rollouts/a/b")}


def named(version: str, run_id: str, values: dict[str, float], **facts: object) -> RunGauges:
    return replace(run(run_id, values, **facts), name=version)  # type: ignore[arg-type]  # as of run


def deployments() -> list[RunGauges]:
    return [
        named("1", "a" * 32, {"lead_time_seconds": 60.0}, start_ms=1_000, end_ms=2_000),
        named("2", "b" * 32, {"lead_time_seconds": 90.0}, start_ms=3_000, end_ms=4_000, status="FAILED"),
        named("2", "c" * 32, {}, start_ms=5_000, end_ms=6_000, status="FAILED"),
        named("1", "d" * 32, {"rollback": 1.0}, start_ms=7_000, end_ms=10_000),
        named("3", "e" * 32, {}, start_ms=11_000, end_ms=None, status="RUNNING"),
        run("f" * 32, {"x": 1.0}, experiment_id="2"),
    ]


def test_the_newest_deployment_and_all_counts_are_shown() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, deployments()))
    info = of_family(snapshot, "mlflow_deployment_info", "model", "environment", "version", "run_uuid", "status")
    assert info == {("team/pricing", "staging", "3", "e" * 32, "RUNNING"): 1.0}
    started = of_family(snapshot, "mlflow_deployment_started_timestamp_seconds", "model", "environment", "version")
    assert started == {("team/pricing", "staging", "3"): 11.0}
    for family, value in (
        ("rollouts_total", 5.0),
        ("failed_total", 2.0),
        ("rollbacks_total", 1.0),
        ("lead_time_seconds", 90.0),
        ("time_to_restore_seconds", 6.0),
    ):
        found = of_family(snapshot, f"mlflow_deployment_{family}", "model", "environment")
        assert found == {("team/pricing", "staging"): value}, family


def test_what_is_not_known_is_not_shown() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, deployments()[4:]))
    assert of_family(snapshot, "mlflow_deployment_lead_time_seconds", "model") == {}
    assert of_family(snapshot, "mlflow_deployment_time_to_restore_seconds", "model") == {}
    assert of_family(snapshot, "mlflow_deployment_failed_total", "model") == {("team/pricing",): 0.0}
