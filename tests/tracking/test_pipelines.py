"""Executions of data pipelines: what reaches MLflow, however they end."""

from __future__ import annotations

import signal

from tests.tracking.commands import tracking_spool
from tests.tracking.conftest import Programs, Truth
from tests.tracking.spools import keys, only_key

DAILY = """
from tracking_integration import start_data_pipeline

with start_data_pipeline("daily_prices", "exchange_feed", 10_000) as p:
    p.log_stage("extraction", 9_990, errors=10, duration_seconds=45.0)
    p.log_stage("feature engineering", 9_900, errors=90, duration_seconds=10)
    p.log_data_quality({"completeness": 0.99, "schema": {"valid": True, "why": "text"}})
    p.complete_pipeline(9_900, success=True)
"""


def test_a_whole_execution_is_a_run_with_its_stages_in_their_order(mlflow: Truth, online: Programs) -> None:
    online.run(DAILY)
    key = only_key(online.spool)
    assert mlflow.status(key) == "FINISHED"
    assert mlflow.params(key) == {"source": "exchange_feed", "expected_records": "10000"}
    assert mlflow.tags(key)["pipeline.name"] == "daily_prices"
    points = {(name, step): value for name, step, value in mlflow.points(key) if name != "duration_seconds"}
    assert points == {
        ("stage/extraction/records", 1): 9990.0,
        ("stage/extraction/errors", 1): 10.0,
        ("stage/extraction/duration_seconds", 1): 45.0,
        ("stage/extraction/records_per_second", 1): 222.0,
        ("stage/feature engineering/records", 2): 9900.0,
        ("stage/feature engineering/errors", 2): 90.0,
        ("stage/feature engineering/duration_seconds", 2): 10.0,
        ("stage/feature engineering/records_per_second", 2): 990.0,
        ("quality/completeness", 0): 0.99,
        ("quality/schema/valid", 0): 1.0,
        ("records", 0): 9900.0,
        ("expected_records", 0): 10000.0,
    }
    ((name,),) = mlflow.rows(
        "select e.name from experiments e join runs r on r.experiment_id = e.experiment_id where r.run_uuid = ?",
        mlflow.run(key),
    )
    assert name == "pipelines/daily_prices"


FAILS = """
from tracking_integration import start_data_pipeline

try:
    with start_data_pipeline("daily_prices", "exchange_feed", 10_000) as p:
        p.log_stage("extraction", 10_000)
        with p.stage("cleaning") as stage:
            stage.records = 7
            raise ValueError("the second stage broke")
except ValueError:
    print("raised")
"""


def test_one_that_fails_in_its_second_stage_says_where_and_why_and_raises(mlflow: Truth, online: Programs) -> None:
    assert online.run(FAILS) == "raised\n"
    key = only_key(online.spool)
    assert mlflow.status(key) == "FAILED"
    tags = mlflow.tags(key)
    assert tags["pipeline.failed_stage"] == "cleaning"
    assert "the second stage broke" in tags["pipeline.error"]
    assert [value for _, _, value in mlflow.points(key, "stage/cleaning/records")] == [7.0]
    assert [value for _, _, value in mlflow.points(key, "records")] == [10_000.0], "what the last whole stage had"


def test_the_first_end_counts_and_without_one_the_last_stage(mlflow: Truth, online: Programs) -> None:
    online.run(
        """
        from tracking_integration import start_data_pipeline
        for name in ("twice", "failed", "none"):
            with start_data_pipeline("p", run_key=name) as p:
                p.log_stage("only", 3)
                if name != "none":
                    p.complete_pipeline(5, success=name == "twice")
                if name == "twice":
                    p.complete_pipeline(6, success=False)
        """
    )
    ends = {"twice": ("FINISHED", 5.0), "failed": ("FAILED", 5.0), "none": ("FINISHED", 3.0)}
    for name, (status, records) in ends.items():
        assert mlflow.status(name) == status
        assert [value for _, _, value in mlflow.points(name, "records")] == [records]


def test_one_whose_process_dies_is_killed_and_keeps_its_stages(mlflow: Truth, online: Programs) -> None:
    program = online.start(
        """
        import time
        from tracking_integration import start_data_pipeline
        with start_data_pipeline("nightly") as p:
            p.log_stage("extraction", 10)
            p.run.flush()
            print("there", flush=True)
            time.sleep(60)
        """
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "there\n"
    program.send_signal(signal.SIGKILL)
    program.communicate()
    at_once = online.here / "at-once.json"
    at_once.write_text('{"delivery": {"adopt_after": 0}}')
    tracking_spool(online.here, "sync", "tracking", env={**online.env, "TRACKING_CONFIG_PATH": str(at_once)})
    key = only_key(online.spool)
    assert mlflow.status(key) == "KILLED"
    assert [value for _, _, value in mlflow.points(key, "stage/extraction/records")] == [10.0]


def test_a_nested_one_belongs_to_the_one_around_it(mlflow: Truth, online: Programs) -> None:
    online.run(
        """
        from tracking_integration import DataPipelineTracker

        tracker = DataPipelineTracker()
        with tracker.start_data_pipeline("all") as outer:
            with tracker.start_data_pipeline("part", parent=outer, run_key="inner") as inner:
                inner.log_stage("load", 1)

        @tracker.start_data_pipeline("decorated", run_key="third")
        def load():
            return 5

        assert load() == 5
        plain = tracker.start_data_pipeline("plain", run_key="fourth")
        plain.log_stage("load", 2)
        plain.complete_pipeline(2)
        """
    )
    (outer,) = set(keys(online.spool)) - {"inner", "third", "fourth"}
    assert mlflow.tags("inner")["mlflow.parentRunId"] == mlflow.run(outer)
    assert {mlflow.status(key) for key in keys(online.spool)} == {"FINISHED"}
