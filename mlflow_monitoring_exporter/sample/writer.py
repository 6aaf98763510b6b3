"""Writes a scenario through MLflow's client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.errors import SourceRefusedError
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.sample.scenario import PlannedRun, PlannedVersion, Scenario

if TYPE_CHECKING:
    from mlflow import MlflowClient

Progress = Callable[[int, int], None]
"""Hears how many runs are written, and how many there will be: first ``(0, total)``, then after each run."""

#: The most that MLflow takes in one batch.
_METRICS = 1000
_PARAMS = 100


def write(client: MlflowClient, scenario: Scenario, progress: Progress) -> None:
    """Everything of ``scenario``. Experiments and models that exist are used, and aliases move.

    Raises SourceRefusedError, before anything is written, when one of the experiments is deleted.
    """
    experiments = {name: experiment_id(client, name) for name in scenario.experiments}
    progress(0, len(scenario.runs))
    run_ids: dict[str, str] = {}
    for done, run in enumerate(scenario.runs, start=1):
        tags = dict(run.tags)
        if run.parent is not None:
            tags["mlflow.parentRunId"] = run_ids[run.parent]
        run_ids[run.name] = _write_run(client, experiments[run.experiment], run, tags)
        progress(done, len(scenario.runs))
    for version in scenario.versions:
        _register(client, version, run_ids[version.run])


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of the experiment, which is created if there is none of that name."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage == "deleted":
        number = found.experiment_id
        raise SourceRefusedError(
            f"experiment {name} is deleted, which keeps its name: run mlflow experiments restore "
            f"--experiment-id {number}, or mlflow gc --experiment-ids {number}"
        )
    return str(found.experiment_id)


def log_points(
    client: MlflowClient, run_id: str, points: Sequence[Point], params: Mapping[str, str] | None = None
) -> None:
    """Log in batches as large as MLflow takes them."""
    from mlflow.entities import Metric, Param

    for some in batches(list((params or {}).items()), _PARAMS):
        client.log_batch(run_id, params=[Param(key, value) for key, value in some])
    for batch in batches(points, _METRICS):
        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp_ms, p.step) for p in batch])


def _write_run(client: MlflowClient, experiment: str, run: PlannedRun, tags: Mapping[str, str]) -> str:
    created = client.create_run(experiment, start_time=run.start_ms, tags=dict(tags), run_name=run.name)
    run_id = str(created.info.run_id)
    log_points(client, run_id, run.points, run.params)
    if run.status.terminal:
        client.set_terminated(run_id, run.status.value, end_time=run.end_ms)
    return run_id


def _register(client: MlflowClient, version: PlannedVersion, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(version.model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # MLflow takes a run's own artifact path without looking whether anything is there.
    made = client.create_model_version(version.model, f"runs:/{run_id}/model", run_id, await_creation_for=0)
    client.set_registered_model_alias(version.model, version.alias, made.version)
