"""mlflow-dashboard: how the whole of MLflow fares."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import IF_OPEN, OF_EXPERIMENT, OF_SERVER, ROWS, SELF, first, of_newest

_RUN = "${__data.fields.public_url}/#/experiments/${__data.fields.experiment_id}/runs/${__data.fields.run_uuid}"
_TRAINING = (
    "/d/mlflow-training?var-experiment=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${server:queryparam}"
)
_ALL = f"sum(mlflow_experiment_runs{{{OF_EXPERIMENT}}})"
_ENDED = f"mlflow_experiment_runs{{status=~'FINISHED|FAILED|KILLED',{OF_EXPERIMENT}}}"
_FINISHED = f"mlflow_experiment_runs{{status='FINISHED',{OF_EXPERIMENT}}}"
_ROWS = first(ROWS, run=False)


def dashboard() -> models.Dashboard:
    return parts.board(
        "ML Pipeline Overview",
        "mlflow-overview",
        "Experiments, runs and metrics of MLflow at a glance, and how fresh what is shown here is.",
        [variables.way(), variables.server(), variables.experiment(), variables.metric(), variables.top()],
        {"Now": _fleet(), "Trends": _trends(), "Runs": _runs(), "Metrics": _metrics(), "Freshness": _freshness()},
    )


def _fleet() -> list[parts.PanelBuilder]:
    key = "on (server, experiment_name, run_id)"
    started = f"mlflow_run_start_timestamp_seconds{{{OF_SERVER}}}"
    last_hour = f"(time() - ({started} + mlflow_run_duration_seconds{{{OF_SERVER}}}) < 3600)"
    return [
        parts.number(
            "Experiments",
            "Experiments that are watched.",
            f"count(mlflow_experiment_runs{{{OF_SERVER},status='RUNNING'}})",
        ),
        parts.number("Runs", "Runs of the chosen experiments, whatever their status.", _ALL, trend=True),
        parts.number(
            "Running",
            "Runs that say RUNNING.",
            f"sum(mlflow_experiment_runs{{{OF_EXPERIMENT},status='RUNNING'}})",
            trend=True,
        ),
        parts.number(
            "Failed (1 h)",
            "Shown runs that ended as FAILED within the last hour.",
            f"count(mlflow_run_info{{{OF_SERVER},status='FAILED'}} and {key} {last_hour}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Stalled",
            "Runs that say RUNNING and have been silent for longer than is usual for them.",
            f"sum(mlflow_run_stalled{{{OF_SERVER}}}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Diverged (1 h)",
            "Shown runs with a metric that is NaN or infinite, of those that were active within the last hour.",
            f"count(mlflow_run_nonfinite_metrics{{{OF_SERVER}}} > 0 and {key} {last_hour}) or vector(0)",
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
            "Time since the chosen tracking server that was read longest ago was last read.",
            f'time() - min(max by (server) (mlflow_exporter_last_poll_success_timestamp_seconds{{{SELF},server=~"$server"}}))',
            unit="s",
            bad_from=600,
        ),
    ]


def _trends() -> list[parts.PanelBuilder]:
    def since(days: int, until: int = 0) -> str:
        """Runs that came within these days; 0 while Prometheus does not go back so far."""
        runs = f"mlflow_experiment_runs{{{OF_EXPERIMENT}}}"
        now = f"{runs} offset {until}d" if until else runs
        return f"clamp_min(sum({now}) - sum({runs} offset {days}d), 0) or vector(0)"

    return [
        parts.number("New runs (24 h)", "Runs that came within a day.", since(1), span=6),
        parts.number("New runs (7 d)", "Runs that came within seven days.", since(7), span=6),
        parts.number("The 7 d before", "Runs that came within the seven days before those.", since(14, 7), span=6),
        parts.number(
            "Success rate",
            "FINISHED runs among all that have ended, of the chosen experiments.",
            f"sum({_FINISHED}) / sum({_ENDED})",
            unit="percentunit",
            trend=True,
            span=6,
        ),
        parts.curves(
            "Success rate of experiments",
            "FINISHED runs among all that have ended; the ones with the most runs.",
            {
                "{{experiment_name}}": f"sum by (server, experiment_name) ({_FINISHED})"
                f" / (sum by (server, experiment_name) ({_ENDED}) > 0)"
                f" and topk($top, sum by (server, experiment_name) ({_ENDED} @ end()))"
            },
            unit="percentunit",
            span=24,
        ),
    ]


def _runs() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Runs by status",
            "All runs of the chosen experiments, by MLflow's status.",
            {"{{status}}": f"sum by (status) (mlflow_experiment_runs{{{OF_EXPERIMENT}}})"},
            stacked=True,
            colors=parts.COLORS["Status"],
        ),
        parts.bars(
            "Runs by experiment",
            "Those of the chosen experiments with the most runs.",
            f"sort_desc(topk($top, sum by (server, experiment_name) (mlflow_experiment_runs{{{OF_EXPERIMENT}}})))",
            "{{experiment_name}}",
        ),
        parts.rows(
            "Runs to look at",
            "Runs with series of their own: first what runs or failed, then the newest. The name leads to MLflow.",
            {
                "Info": "("
                + parts.linked(
                    f"mlflow_run_info{{{OF_EXPERIMENT}}}",
                    "server, experiment_name, experiment_id, run_id, run_uuid, run_name, status, model_stage",
                )
                + ")"
                + _ROWS,
                "Start": "1000 * max by (server, experiment_name, run_id)"
                f" (mlflow_run_start_timestamp_seconds{{{OF_EXPERIMENT}}}{_ROWS})",
                "Duration": "max by (server, experiment_name, run_id)"
                f" (mlflow_run_duration_seconds{{{OF_EXPERIMENT}}}{_ROWS})",
                "Rank": f'run:mlflow_run_attention:max{{server=~"$server",experiment_name=~"$experiment"}}{_ROWS}',
            },
            {
                "server": "Server",
                "experiment_name": "Experiment",
                "run_name": "Run",
                "run_id": "Id",
                "status": "Status",
                "model_stage": "Stage",
                "Value #Start": "Started",
                "Value #Duration": "Duration",
                "Value #Rank": "Rank",
                "experiment_id": "experiment_id",
                "run_uuid": "run_uuid",
                "public_url": "public_url",
            },
            units={"Started": "dateTimeFromNow", "Duration": "dtdurations"},
            links={"Run": _RUN, "Experiment": _TRAINING},
            hidden=("experiment_id", "run_uuid", "public_url", "Rank"),
            first="Value #Rank",
            height=10,
        ),
    ]


def _metrics() -> list[parts.PanelBuilder]:
    labels = "max by (server, experiment_name, metric)"
    known = f'mlflow_experiment_metric_best{{{OF_EXPERIMENT},metric!~"system/.+"}}'
    some = f" and on (server, experiment_name, metric) topk({ROWS}, {known})"
    return [
        parts.rows(
            "Metrics of experiments",
            "Metrics of which it is known which way is better. Best: in any run. Finished: in the run that finished last. Change: by"
            " how much that is better than the one before; negative is worse. Mean and deviation are of all runs.",
            {
                what: f"{labels} (mlflow_experiment_metric_{family}{{{OF_EXPERIMENT}}}{some})"
                for what, family in (
                    *(("Best", "best"), ("Finished", "finished"), ("Latest", "latest")),
                    *(("Change", "delta"), ("Mean", "mean"), ("Deviation", "stddev")),
                )
            },
            {
                "server": "Server",
                "experiment_name": "Experiment",
                "metric": "Metric",
                **{f"Value #{what}": what for what in ("Best", "Finished", "Latest", "Change", "Mean", "Deviation")},
            },
            links={"Experiment": _TRAINING},
            signed=("Change",),
            height=10,
        ),
        parts.curves(
            "Best value",
            "The best value in any run, where it is known which way is better.",
            {"{{experiment_name}} {{metric}}": of_newest("mlflow_experiment_metric_best")},
        ),
        parts.curves(
            "Value of the run that started last",
            "It may still train.",
            {"{{experiment_name}} {{metric}}": of_newest("mlflow_experiment_metric_latest")},
        ),
    ]


def _freshness() -> list[parts.PanelBuilder]:
    return [
        parts.bars(
            "Time since a run started",
            "In the chosen experiments, the longest ones. An experiment that is trained by a schedule should not stand out.",
            "sort_desc(topk($top, time() - max by (server, experiment_name)"
            f" (mlflow_experiment_last_run_start_timestamp_seconds{{{OF_EXPERIMENT}}})))",
            "{{experiment_name}}",
            unit="dtdurations",
        ),
        parts.curves(
            "Silence of open runs",
            "Time since each run that has not ended logged anything but system metrics.",
            {
                "{{experiment_name}} {{run_id}}": f"(time() - mlflow_run_last_metric_timestamp_seconds{{{OF_EXPERIMENT}}})"
                + IF_OPEN
                + first("$top", run=False)
            },
            unit="s",
        ),
    ]
