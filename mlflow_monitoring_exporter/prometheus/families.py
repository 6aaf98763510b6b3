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

_OF_PIPELINE = ("pipeline",)
_OF_STAGE = ("pipeline", "stage")

PIPELINE_INFO = Spec(
    "mlflow_pipeline_info",
    "Always 1; the execution of a data pipeline that began last.",
    ("pipeline", "experiment_id", "run_id", "run_uuid", "status"),
)
PIPELINE_LAST_SUCCESS = Spec(
    "mlflow_pipeline_last_success_timestamp_seconds",
    "When an execution of a data pipeline last ended as FINISHED, in Unix time.",
    _OF_PIPELINE,
)
#: By the metric of the execution that began last which each shows.
PIPELINE_METRICS = {
    "duration_seconds": Spec("mlflow_pipeline_duration_seconds", "How long an execution took.", _OF_PIPELINE),
    "records": Spec("mlflow_pipeline_records", "Records that came out of an execution.", _OF_PIPELINE),
    "expected_records": Spec(
        "mlflow_pipeline_expected_records", "Records that should come out of an execution.", _OF_PIPELINE
    ),
}
STAGE_METRICS = {
    "records": Spec("mlflow_pipeline_stage_records", "Records that came out of a stage.", _OF_STAGE),
    "errors": Spec("mlflow_pipeline_stage_errors", "Records that a stage refused.", _OF_STAGE),
    "duration_seconds": Spec("mlflow_pipeline_stage_duration_seconds", "How long a stage took.", _OF_STAGE),
}
PIPELINE_QUALITY = Spec(
    "mlflow_pipeline_quality", "Result of a check of data quality, by its dimension.", ("pipeline", "dimension")
)

_OF_ROLLOUT = ("model", "environment")

ROLLOUT_INFO = Spec(
    "mlflow_deployment_info",
    "Always 1; the deployment of a model in an environment that began last.",
    (*_OF_ROLLOUT, "version", "experiment_id", "run_id", "run_uuid", "status"),
)
ROLLOUT_STARTED = Spec(
    "mlflow_deployment_started_timestamp_seconds",
    "When the deployment that began last did so, in Unix time.",
    (*_OF_ROLLOUT, "version"),
)
ROLLOUTS = Spec("mlflow_deployment_rollouts_total", "Deployments that were begun.", _OF_ROLLOUT, "counter")
ROLLOUTS_FAILED = Spec("mlflow_deployment_failed_total", "Deployments that failed.", _OF_ROLLOUT, "counter")
ROLLBACKS = Spec(
    "mlflow_deployment_rollbacks_total", "Times that an earlier version was served again.", _OF_ROLLOUT, "counter"
)
ROLLOUT_LEAD_TIME = Spec(
    "mlflow_deployment_lead_time_seconds", "From the making of a version to its deployment, of the last.", _OF_ROLLOUT
)
ROLLOUT_RESTORE = Spec(
    "mlflow_deployment_time_to_restore_seconds",
    "From the end of a failed deployment to that of the one that succeeded, of the last.",
    _OF_ROLLOUT,
)

BEST_DELTA = Spec(
    "mlflow_experiment_best_delta",
    "By how much the best finished run is better than the best that started before it; positive is better.",
    _OF_KEY,
)
REPEATS_STDDEV = Spec(
    "mlflow_experiment_repeats_stddev",
    "By how much runs that differ in their seed alone differ in a metric: the median of their standard deviations.",
    _OF_KEY,
)
FAIRNESS_GAP = Spec(
    "mlflow_experiment_fairness_gap",
    "Largest minus smallest value of a metric that the best run logged for several groups.",
    _OF_KEY,
)
FAIRNESS_RATIO = Spec(
    "mlflow_experiment_fairness_ratio",
    "Smallest value of a metric that the best run logged for several groups, divided by the largest.",
    _OF_KEY,
)
PARAM_IMPORTANCE = Spec(
    "mlflow_experiment_param_importance",
    "Share of the variation of a metric that comes from a parameter, from 0 to 1.",
    (*_OF_KEY, "param"),
)
#: What the daemon computes of runs every so often (app/analysis_gauges.py).
ANALYSIS = (BEST_DELTA, REPEATS_STDDEV, FAIRNESS_GAP, FAIRNESS_RATIO, PARAM_IMPORTANCE)

OURS = (
    *ANALYSIS,
    *(EXPERIMENT_RUNS, EXPERIMENT_LAST_START, *AGGREGATES.values()),
    *(RUN_INFO, RUN_START, RUN_DURATION, RUN_LAST_METRIC, RUN_NONFINITE, RUN_STALLED, RUN_ORPHANED),
    *(MODEL_VERSION_INFO, MODEL_ALIAS_METRIC, MODEL_ALIAS_DELTA, MODEL_ALIAS_CHANGES),
    *(PIPELINE_INFO, PIPELINE_LAST_SUCCESS, *PIPELINE_METRICS.values(), *STAGE_METRICS.values(), PIPELINE_QUALITY),
    *(ROLLOUT_INFO, ROLLOUT_STARTED, ROLLOUTS, ROLLOUTS_FAILED, ROLLBACKS, ROLLOUT_LEAD_TIME, ROLLOUT_RESTORE),
)
