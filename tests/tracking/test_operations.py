"""Operations, resources, lineage and alerts of programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_tracking.alerts import AlertManager
from mlflow_monitoring_tracking.tracker import ExperimentTracker
from tests.parts.bad_server import answer, bad_server
from tests.tracking.commands import until
from tests.tracking.conftest import Programs, Truth
from tests.tracking.spools import keys, only_key


def experiment(mlflow: Truth, key: str) -> str:
    question = "select e.name from experiments e join runs r on r.experiment_id = e.experiment_id where r.run_uuid = ?"
    ((name,),) = mlflow.rows(question, mlflow.run(key))
    return str(name)


def values(mlflow: Truth, key: str) -> dict[str, float]:
    return {name: value for name, _, value in mlflow.points(key)}


def test_an_operation_is_a_run_from_its_start_to_its_end(mlflow: Truth, online: Programs) -> None:
    online.run(
        """
        from tracking_integration import operation_logger
        op = operation_logger.log_training_start(model_name="risk", dataset_version="v1.0", user_id="ada")
        operation_logger.log_training_progress(operation_id=op, progress=0.5, loss=0.25)
        operation_logger.log_training_complete(operation_id=op, model_version="1.0.0", metrics={"roc_auc": 0.92})
        """
    )
    key = only_key(online.spool)
    assert experiment(mlflow, key) == "operations/training"
    assert mlflow.status(key) == "FINISHED"
    assert mlflow.params(key) == {"model_name": "risk", "dataset_version": "v1.0", "model_version": "1.0.0"}
    assert mlflow.tags(key)["operation.user"] == "ada"
    assert mlflow.tags(key)["mlflow.runName"] == "risk"
    found = values(mlflow, key)
    assert (found["progress"], found["loss"], found["roc_auc"]) == (0.5, 0.25, 0.92)
    assert found["duration_seconds"] >= 0


def test_every_kind_has_its_calls_and_fails_with_its_reason(mlflow: Truth, online: Programs) -> None:
    online.run(
        """
        from tracking_integration import operation_logger as log
        for kind in ("training", "ingestion", "feature_extraction", "deployment"):
            op = getattr(log, f"log_{kind}_start")(name="it")
            getattr(log, f"log_{kind}_progress")(op, 0.1)
            getattr(log, f"log_{kind}_error")(op, ValueError("no space left"), attempt=2)
        """
    )
    found = keys(online.spool)
    kinds = ("training", "ingestion", "feature_extraction", "deployment")
    assert {experiment(mlflow, key) for key in found} == {f"operations/{kind}" for kind in kinds}
    for key in found:
        assert mlflow.status(key) == "FAILED"
        assert "no space left" in mlflow.tags(key)["operation.error"]
        assert mlflow.params(key)["attempt"] == "2"


def test_another_process_may_end_an_operation(mlflow: Truth, online: Programs) -> None:
    begun = "from tracking_integration import operation_logger as log\nprint(log.log_deployment_start(model_name='m'))"
    operation_id = online.run(begun).strip()
    ended = f"log.log_deployment_complete({operation_id!r}, region='eu')"
    online.run(f"from tracking_integration import operation_logger as log\n{ended}")
    assert only_key(online.spool) == operation_id
    assert mlflow.status(operation_id) == "FINISHED"
    assert mlflow.params(operation_id) == {"model_name": "m", "region": "eu"}


def test_decorators_and_blocks_record_what_they_needed_and_raise_what_was_raised(
    mlflow: Truth, online: Programs
) -> None:
    out = online.run(
        """
        from tracking_integration import log_operation, monitor_resources, operation, operation_logger

        @operation("ingestion")
        def ingest(n):
            return list(range(n))

        @monitor_resources("training")
        def train():
            raise ValueError("diverged")

        print(len(ingest(10)), ingest.__name__)
        try:
            train()
        except ValueError as error:
            print(error)
        with monitor_resources("features", dataset="d"):
            sum(i * i for i in range(2_000_000))
        operation_logger.log_data_access(user_id="ada", dataset_name="d", purpose="audit")
        print(log_operation(operation="x", user_id="ada", more=1))
        """
    )
    assert out == "10 ingest\ndiverged\n{'operation': 'x', 'user_id': 'ada', 'more': 1}\n"
    by_kind = {mlflow.tags(key)["operation.kind"]: key for key in keys(online.spool)}
    assert {kind: mlflow.status(key) for kind, key in by_kind.items()} == {
        "ingestion": "FINISHED",
        "training": "FAILED",
        "features": "FINISHED",
        "data_access": "FINISHED",
    }
    assert "diverged" in mlflow.tags(by_kind["training"])["operation.error"]
    needed = values(mlflow, by_kind["features"])
    assert 0 < needed["cpu_seconds"] <= needed["duration_seconds"] * 1.5
    assert needed["peak_memory_bytes"] > 1_000_000
    assert mlflow.params(by_kind["features"]) == {"dataset": "d"}
    assert mlflow.params(by_kind["data_access"]) == {"dataset_name": "d", "purpose": "audit"}


def test_lineage_names_what_came_of_what(mlflow: Truth, online: Programs) -> None:
    online.run(
        """
        from tracking_integration import lineage_tracker as lineage
        source, data = lineage.track_data_ingestion(source_name="registry", dataset_name="raw", records_count=5000)
        clean = lineage.track_transformation(input_ids=data, output_name="clean")
        model = lineage.track_training(input_ids=[clean], model_name="risk", version="1")
        lineage.track_prediction(model_id=model, input_ids=[clean])
        """
    )
    key = only_key(online.spool)
    nodes = {
        name.removeprefix("lineage."): json.loads(text)
        for name, text in mlflow.tags(key).items()
        if name.startswith("lineage.")
    }
    by_name = {node["name"]: (node_id, node) for node_id, node in nodes.items()}
    assert by_name["raw"][1]["inputs"] == [by_name["registry"][0]]
    assert by_name["raw"][1]["records_count"] == 5000
    assert by_name["clean"][1]["inputs"] == [by_name["raw"][0]]
    assert by_name["risk"][1] == {**by_name["risk"][1], "inputs": [by_name["clean"][0]], "version": "1"}
    assert by_name["prediction"][1]["inputs"] == [by_name["risk"][0], by_name["clean"][0]]
    assert {node["kind"] for node in nodes.values()} == {"source", "dataset", "model", "prediction"}


def manager(tmp_path: Path) -> AlertManager:
    return AlertManager(ExperimentTracker({"tracking_dir": str(tmp_path)}))


def test_an_alert_is_told_once_in_its_cooldown_and_kept(tmp_path: Path) -> None:
    alerts, told = manager(tmp_path), list[Mapping[str, Any]]()
    alerts.notify = told.append
    assert alerts.alert_processing_failure("ingestion", "timed out")
    assert not alerts.alert_processing_failure("ingestion", "timed out, again")
    assert alerts.alert_processing_failure("training", "another subject")
    assert alerts.alert_processing_failure("ingestion", "no cooldown", cooldown=0)
    assert alerts.alert_threshold("latency_ms", 1200.0, 1000.0)
    assert alerts.alert_data_quality("prices", "completeness", 0.9, 0.99)
    assert alerts.alert_model_degradation("risk", "roc_auc", 0.8, 0.9)
    assert alerts.alert_data_drift("age", 0.4, 0.2, severity="info")
    assert [alert["message"] for alert in told] == [
        "ingestion failed: timed out",
        "training failed: another subject",
        "ingestion failed: no cooldown",
        "latency_ms is 1200, above 1000",
        "prices: completeness is 0.9, less than 0.99",
        "risk: roc_auc is 0.8, and was 0.9",
        "age has drifted: 0.4, more than 0.2",
    ]
    assert alerts.history() == [dict(alert) for alert in told]
    assert [alert["severity"] for alert in alerts.history(2)] == ["warning", "info"]
    with pytest.raises(ValueError, match="severity is info, warning or critical, not 'page'"):
        alerts.alert("x", "y", "z", severity="page")  # type: ignore[arg-type]


def test_a_receiver_that_fails_and_a_damaged_history_end_nothing(tmp_path: Path) -> None:
    alerts = manager(tmp_path)
    alerts.notify = lambda _alert: 1 / 0
    assert alerts.alert_threshold("a", 2, 1)
    (tmp_path / "alerts.last").write_text("{torn")
    with (tmp_path / "alerts.json").open("a") as history:
        history.write('{"torn')
    assert [alert["subject"] for alert in alerts.history()] == ["a"]
    assert alerts.alert_threshold("b", 2, 1)


def test_however_many_processes_raise_it_people_are_told_once(offline: Programs) -> None:
    program = """
        from tracking_integration import alert_manager
        print(sum(alert_manager.alert_threshold("latency_ms", 2, 1) for _ in range(20)))
    """
    started = [offline.start(program) for _ in range(4)]
    told = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sum(told) == 1
    history = (offline.here / "tracking" / "alerts.json").read_text()
    assert len(history.splitlines()) == 1


def test_who_waits_for_the_others_does_not_tell_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waited for its turn, another process told the same, at a later time than that at which it was raised."""
    alerts, times = manager(tmp_path), iter([1000, 5000, 4000, 4999, 10**9, 10**9 + 1])
    monkeypatch.setattr("mlflow_monitoring_tracking.alerts.now_ms", lambda: next(times))
    assert [alerts.alert_threshold("a", 2, 1, cooldown=60) for _ in range(2)] == [True, False]
    assert alerts.alert_threshold("a", 2, 1, cooldown=60), "long after"
    assert [alert["at_ms"] for alert in alerts.history()] == [5000, 10**9 + 1]


#: Three processes raise the same alert; one of them tells people.
ALERTS = """
    import sys
    from mlflow_monitoring_tracking import ExperimentTracker
    from mlflow_monitoring_tracking.alerts import AlertManager
    config = {{"tracking_dir": "tracking", "mode": "offline", "notifications": {{"urls": ["{url}"]}}}}
    AlertManager(ExperimentTracker(config)).alert_threshold("latency_ms", 1200, 1000, severity="critical")
"""


def test_an_alert_is_sent_through_apprise_once_by_however_many_processes(offline: Programs) -> None:
    with bad_server(answer(200, body=b"ok")) as inbox:
        program = ALERTS.format(url=f"json://{inbox.url.removeprefix('http://')}/told")
        started = [offline.start(program) for _ in range(3)]
        for process in started:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        until(lambda: inbox.requests)  # the program does not wait for it
        [request] = inbox.requests
        said = json.loads(request.body)
    assert said["title"] == "critical: threshold latency_ms"
    assert "latency_ms is 1200, above 1000" in said["message"]


def test_a_service_that_fails_or_is_unknown_ends_no_program_and_shows_no_password(
    offline: Programs,
) -> None:
    with bad_server(answer(500, body=b"no")) as inbox:
        for url in (f"json://user:planted-secret@{inbox.url.removeprefix('http://')}/", "nothing://planted-secret"):
            program = "import logging; logging.basicConfig()\n" + textwrap.dedent(ALERTS.format(url=url)).replace(
                "latency_ms", f"latency of {url[:4]}"
            )
            process = offline.start(program)
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert "planted-secret" not in err
            assert "upload_failed key=notifications.urls[0] reason=" in err


def test_a_disk_that_refuses_does_not_keep_an_alert_quiet(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    alerts, told = manager(tmp_path / "file" / "below"), list[Mapping[str, Any]]()
    alerts.notify = told.append
    assert alerts.alert_threshold("a", 2, 1)
    assert len(told) == 1
