"""The families whose names are ours. docs/reference/metrics.md explains each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spec:
    """A family before it has any series."""

    name: str
    help: str
    labels: tuple[str, ...]
    type: str = "gauge"


_OF_KEY = ("experiment_name", "metric")
_OF_RUN = ("experiment_name", "run_id")
_OF_ALIAS = ("model", "alias", "metric")

EXPERIMENT_RUNS = Spec("mlflow_experiment_runs", "Runs of an experiment by status.", ("experiment_name", "status"))

EXPERIMENT_LAST_START = Spec(
    "mlflow_experiment_last_run_start_timestamp_seconds",
    "When the run of an experiment that started last did so, in Unix time.",
    ("experiment_name",),
)

#: By the field of an Aggregate that each shows.
AGGREGATES = {
    "latest": Spec("mlflow_experiment_metric_latest", "Value of a metric in the run that started last.", _OF_KEY),
    "finished": Spec("mlflow_experiment_metric_finished", "Value of a metric in the run that finished last.", _OF_KEY),
    "best": Spec("mlflow_experiment_metric_best", "Best value of a metric in any run.", _OF_KEY),
    "mean": Spec("mlflow_experiment_metric_mean", "Mean of a metric's finite values in all runs.", _OF_KEY),
    "min": Spec("mlflow_experiment_metric_min", "Smallest finite value of a metric in any run.", _OF_KEY),
    "max": Spec("mlflow_experiment_metric_max", "Largest finite value of a metric in any run.", _OF_KEY),
    "stddev": Spec(
        "mlflow_experiment_metric_stddev", "Standard deviation of a metric's finite values in all runs.", _OF_KEY
    ),
    "delta": Spec(
        "mlflow_experiment_metric_delta",
        "By how much the run that finished last is better than the one that finished before it.",
        _OF_KEY,
    ),
}

RUN_INFO = Spec(
    "mlflow_run_info",
    "Always 1; the labels say what a run is.",
    (*_OF_RUN, "experiment_id", "run_uuid", "run_name", "status", "model_stage", "parent_run_id"),
)
RUN_START = Spec("mlflow_run_start_timestamp_seconds", "When a run started, in Unix time.", _OF_RUN)
RUN_DURATION = Spec(
    "mlflow_run_duration_seconds", "From the start of a run to its end, or as yet to its last metric.", _OF_RUN
)
RUN_LAST_METRIC = Spec(
    "mlflow_run_last_metric_timestamp_seconds",
    "When a run last logged anything but system metrics, in Unix time.",
    _OF_RUN,
)
RUN_NONFINITE = Spec("mlflow_run_nonfinite_metrics", "Metrics of a run whose latest value is NaN or infinite.", _OF_RUN)
RUN_STALLED = Spec(
    "mlflow_run_stalled", "Whether a run that has not ended is RUNNING and silent for too long (1) or not (0).", _OF_RUN
)
RUN_ORPHANED = Spec(
    "mlflow_run_orphaned",
    "Whether a stalled run is left behind, so that it will never end by itself (1) or not (0).",
    _OF_RUN,
)

MODEL_VERSION_INFO = Spec(
    "mlflow_model_version_info",
    "Always 1; a version of a registered model with an alias or a stage, or the newest one.",
    ("model", "version", "alias", "stage", "run_id"),
)
MODEL_ALIAS_METRIC = Spec(
    "mlflow_model_alias_metric", "Latest value of a metric in the run of the version under an alias.", _OF_ALIAS
)
MODEL_ALIAS_DELTA = Spec(
    "mlflow_model_alias_metric_delta",
    "By how much the version under an alias is better than the newest.",
    _OF_ALIAS,
)
MODEL_ALIAS_CHANGES = Spec(
    "mlflow_model_alias_changes_total", "Times that an alias was set, moved or removed.", ("model", "alias"), "counter"
)

OURS = (
    *(EXPERIMENT_RUNS, EXPERIMENT_LAST_START, *AGGREGATES.values()),
    *(RUN_INFO, RUN_START, RUN_DURATION, RUN_LAST_METRIC, RUN_NONFINITE, RUN_STALLED, RUN_ORPHANED),
    *(MODEL_VERSION_INFO, MODEL_ALIAS_METRIC, MODEL_ALIAS_DELTA, MODEL_ALIAS_CHANGES),
)
