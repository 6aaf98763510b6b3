"""mlflow-dashboard: how the whole of MLflow fares."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import IF_OPEN, OF_EXPERIMENT, OF_METRIC, SELF, WAY

_RUN = "${mlflow}/#/experiments/${__data.fields.experiment_id}/runs/${__data.fields.run_uuid}"
_TRAINING = "/d/mlflow-training?var-experiment=${__value.raw}&${datasource:queryparam}&${job:queryparam}"


def dashboard() -> models.Dashboard:
    return parts.board(
        "MLflow: overview",
        "mlflow-overview",
        "Experiments, runs and metrics of MLflow at a glance, and how fresh what is shown here is.",
        [variables.way(), variables.experiment(), variables.metric()],
        {"Fleet": _fleet(), "Runs": _runs(), "Metrics": _metrics(), "Freshness": _freshness()},
    )


def _fleet() -> list[parts.PanelBuilder]:
    last_active = f"(mlflow_run_start_timestamp_seconds{{{WAY}}} + mlflow_run_duration_seconds{{{WAY}}})"
    last_hour = f"(time() - {last_active} < 3600)"
    return [
        parts.number(
            "Experiments", "Experiments that are watched.", f"count(mlflow_experiment_runs{{{WAY},status='RUNNING'}})"
        ),
        parts.number(
            "Runs", "Runs of the watched experiments, whatever their status.", f"sum(mlflow_experiment_runs{{{WAY}}})"
        ),
        parts.number("Running", "Runs that say RUNNING.", f"sum(mlflow_experiment_runs{{{WAY},status='RUNNING'}})"),
        parts.number(
            "Failed within the hour",
            "Shown runs that ended as FAILED within the last hour.",
            f"count(mlflow_run_info{{{WAY},status='FAILED'}} and on (experiment_name, run_id) {last_hour}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Stalled",
            "Runs that say RUNNING and have been silent for longer than is usual for them.",
            f"sum(mlflow_run_stalled{{{WAY}}}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Diverged within the hour",
            "Shown runs with a metric that is NaN or infinite, of those that were active within the last hour.",
            f"count(mlflow_run_nonfinite_metrics{{{WAY}}} > 0 and on (experiment_name, run_id) {last_hour}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Alerts",
            "Critical alerts and warnings that fire; the dashboard of alerts says which.",
            "count(ALERTS{alertstate='firing',severity=~'critical|warning'}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Age of the data",
            "Time since the exporter last read all of MLflow.",
            f"time() - max(mlflow_exporter_last_poll_success_timestamp_seconds{{{SELF}}})",
            unit="s",
            bad_from=600,
        ),
    ]


def _runs() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Runs by status",
            "All runs of the chosen experiments, by MLflow's status.",
            {"{{status}}": f"sum by (status) (mlflow_experiment_runs{{{OF_EXPERIMENT}}})"},
            stacked=True,
            colors={"FINISHED": "green", "RUNNING": "blue", "FAILED": "red", "KILLED": "orange", "SCHEDULED": "purple"},
        ),
        parts.bars(
            "Runs by experiment",
            "All runs of each of the chosen experiments.",
            f"sum by (experiment_name) (mlflow_experiment_runs{{{OF_EXPERIMENT}}})",
            "{{experiment_name}}",
        ),
        parts.rows(
            "Shown runs",
            "Runs with series of their own: those that have not ended, the last and the best ones. The name leads to MLflow.",
            {
                "Info": f"max by (experiment_name, experiment_id, run_id, run_uuid, run_name, status, model_stage)"
                f" (mlflow_run_info{{{OF_EXPERIMENT}}})",
                "Start": f"1000 * max by (experiment_name, run_id) (mlflow_run_start_timestamp_seconds{{{OF_EXPERIMENT}}})",
                "Duration": f"max by (experiment_name, run_id) (mlflow_run_duration_seconds{{{OF_EXPERIMENT}}})",
            },
            {
                "experiment_name": "Experiment",
                "run_name": "Run",
                "run_id": "Id",
                "status": "Status",
                "model_stage": "Stage",
                "Value #Start": "Started",
                "Value #Duration": "Duration",
                "experiment_id": "experiment_id",
                "run_uuid": "run_uuid",
            },
            units={"Started": "dateTimeFromNow", "Duration": "dtdurations"},
            links={"Run": _RUN},
            hidden=("experiment_id", "run_uuid"),
            height=10,
        ),
    ]


def _metrics() -> list[parts.PanelBuilder]:
    labels = "max by (experiment_name, metric)"
    return [
        parts.rows(
            "Metrics of experiments",
            "Best: in any run, where it is known which way is better. Finished: in the run that finished last. Change: by"
            " how much that is better than the one before; negative is worse. Mean and deviation are of all runs.",
            {
                what: f"{labels} (mlflow_experiment_metric_{family}{{{OF_EXPERIMENT}}})"
                for what, family in (
                    *(("Best", "best"), ("Finished", "finished"), ("Latest", "latest")),
                    *(("Change", "delta"), ("Mean", "mean"), ("Deviation", "stddev")),
                )
            },
            {
                "experiment_name": "Experiment",
                "metric": "Metric",
                **{f"Value #{what}": what for what in ("Best", "Finished", "Latest", "Change", "Mean", "Deviation")},
            },
            links={"Experiment": _TRAINING},
            height=10,
        ),
        parts.curves(
            "Best value",
            "The best value in any run, where it is known which way is better.",
            {"{{experiment_name}} {{metric}}": f"mlflow_experiment_metric_best{{{OF_METRIC}}}"},
        ),
        parts.curves(
            "Value of the run that started last",
            "It may still train.",
            {"{{experiment_name}} {{metric}}": f"mlflow_experiment_metric_latest{{{OF_METRIC}}}"},
        ),
    ]


def _freshness() -> list[parts.PanelBuilder]:
    return [
        parts.bars(
            "Time since a run started",
            "In each of the chosen experiments. An experiment that is trained by a schedule should not stand out.",
            f"time() - max by (experiment_name) (mlflow_experiment_last_run_start_timestamp_seconds{{{OF_EXPERIMENT}}})",
            "{{experiment_name}}",
            unit="dtdurations",
        ),
        parts.curves(
            "Silence of open runs",
            "Time since each run that has not ended logged anything but system metrics.",
            {
                "{{experiment_name}} {{run_id}}": f"(time() - mlflow_run_last_metric_timestamp_seconds{{{OF_EXPERIMENT}}})"
                + IF_OPEN
            },
            unit="s",
        ),
    ]
