"""Gauges of data pipelines: of the execution that began last, and of the last success."""

from __future__ import annotations

from mlflow_monitoring_exporter.core.values import RunGauges
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts, Facts
from tests.parts.gauges import of_family
from tests.transform.test_gauges import gauges, run

EXPERIMENTS = {"1": ExperimentFacts("pipelines/daily prices"), "2": ExperimentFacts("training/pipelines/no")}
DAY = {
    "records": 9900.0,
    "expected_records": 10_000.0,
    "duration_seconds": 125.0,
    "stage/extraction/records": 9990.0,
    "stage/extraction/errors": 10.0,
    "stage/feature engineering/duration_seconds": 67.0,
    "stage/a/b/records": 3.0,
    "quality/completeness": 0.99,
    "quality/schema/valid": 1.0,
}


def executions() -> list[RunGauges]:
    return [
        run("a" * 32, {"records": 1.0}, start_ms=1000, end_ms=3500),
        run("b" * 32, DAY, start_ms=2000, end_ms=None, status="FAILED"),
        run("c" * 32, {"records": 7.0}, experiment_id="2"),
    ]


def test_the_newest_execution_is_shown_with_its_stages_and_the_last_success_with_its_time() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, executions()))
    info = of_family(snapshot, "mlflow_pipeline_info", "pipeline", "run_id", "run_uuid", "status", "experiment_id")
    assert info == {("daily prices", "b" * 8, "b" * 32, "FAILED", "1"): 1.0}
    assert of_family(snapshot, "mlflow_pipeline_last_success_timestamp_seconds", "pipeline") == {("daily prices",): 3.5}
    for family, value in (("records", 9900.0), ("expected_records", 10_000.0), ("duration_seconds", 125.0)):
        assert of_family(snapshot, f"mlflow_pipeline_{family}", "pipeline") == {("daily prices",): value}
    assert of_family(snapshot, "mlflow_pipeline_stage_records", "pipeline", "stage") == {
        ("daily prices", "extraction"): 9990.0,
        ("daily prices", "a/b"): 3.0,
    }
    assert of_family(snapshot, "mlflow_pipeline_stage_errors", "stage") == {("extraction",): 10.0}
    assert of_family(snapshot, "mlflow_pipeline_stage_duration_seconds", "stage") == {("feature engineering",): 67.0}
    assert of_family(snapshot, "mlflow_pipeline_quality", "dimension") == {
        ("completeness",): 0.99,
        ("schema/valid",): 1.0,
    }


def test_a_pipeline_that_never_succeeded_has_no_time_of_a_success() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, executions()[1:]))
    assert of_family(snapshot, "mlflow_pipeline_last_success_timestamp_seconds", "pipeline") == {}
    assert len(of_family(snapshot, "mlflow_pipeline_info", "pipeline")) == 1


def test_equal_executions_give_the_same_snapshot() -> None:
    made = gauges()
    before = made.build(Facts(EXPERIMENTS, executions()))
    assert made.build(Facts(EXPERIMENTS, executions()[::-1]), before) is before
