"""``pipelines list | show``, ``deployments list``, ``production status``: what happens around models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column

from mlflow_monitoring_exporter.cli.alerts import print_history
from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import (
    EXIT_FAILED,
    Output,
    OutputOption,
    print_error,
    print_json,
    print_table,
)
from mlflow_monitoring_exporter.cli.rows import Format, FormatOption
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.exporters.record import iso_utc
from mlflow_monitoring_exporter.prometheus import families

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.app.one_look import Seen
    from mlflow_monitoring_tracking.production.families import Family

pipelines_commands = typer.Typer(help="Executions of data pipelines, as MLflow has them.", no_args_is_help=True)
deployments_commands = typer.Typer(help="Deployments of model versions, as MLflow has them.", no_args_is_help=True)
production_commands = typer.Typer(help="Models in production, as the spool has them.", no_args_is_help=True)

_OF_PIPELINE = {
    "last_success": families.PIPELINE_LAST_SUCCESS.name,
    **{what: families.PIPELINE_METRICS[what].name for what in ("records", "expected_records", "duration_seconds")},
}
_OF_STAGE = {what: spec.name for what, spec in families.STAGE_METRICS.items()}
_OF_ROLLOUT = {
    "rollouts": families.ROLLOUTS.name,
    "failed": families.ROLLOUTS_FAILED.name,
    "rollbacks": families.ROLLBACKS.name,
    "lead_time_seconds": families.ROLLOUT_LEAD_TIME.name,
    "time_to_restore_seconds": families.ROLLOUT_RESTORE.name,
}
#: The kinds of alerts that are about a model.
_OF_PRODUCTION = frozenset({"model_degradation", "data_drift", "threshold"})
#: Before the names of what is known of production.
_PRODUCTION = "mlflow_deployment_"


@pipelines_commands.command("list")
@configured
def list_pipelines(options: Options, output: OutputOption = Output.table) -> None:
    """Of each data pipeline the execution that began last."""
    info = families.PIPELINE_INFO.name
    found = _look(
        options, "pipelines/*", {info: ("pipeline", "status"), **dict.fromkeys(_OF_PIPELINE.values(), ("pipeline",))}
    )
    rows = [
        {"server": server, "pipeline": pipeline, "status": status, **_values(found, _OF_PIPELINE, (server, pipeline))}
        for server, pipeline, status in sorted(found[info])
    ]
    _print(rows, output, times=("last_success",))


@pipelines_commands.command("show")
@configured
def show_pipeline(
    options: Options,
    pipeline: Annotated[str, typer.Argument(help="The name that list shows.")],
    output: OutputOption = Output.table,
) -> None:
    """Stages and data quality of the execution of a pipeline that began last."""
    quality = families.PIPELINE_QUALITY.name
    found = _look(
        options,
        f"pipelines/{pipeline}",
        {quality: ("pipeline", "dimension"), **dict.fromkeys(_OF_STAGE.values(), ("pipeline", "stage"))},
    )
    names = sorted({key for family in _OF_STAGE.values() for key in found[family]})
    rows = [
        {"server": server, "stage": stage, **_values(found, _OF_STAGE, (server, name, stage))}
        for server, name, stage in names
    ]
    checks = [
        {"server": server, "dimension": dimension, "value": value}
        for (server, _, dimension), value in sorted(found[quality].items())
    ]
    if not rows and not checks:
        print_error(f"there is no execution of a pipeline {pipeline} with stages or checks; pipelines list shows all")
        raise typer.Exit(EXIT_FAILED)
    if output is Output.json:
        print_json({"stages": rows, "quality": checks})
        return
    _print(rows, output)
    _print(checks, output)


@deployments_commands.command("list")
@configured
def list_deployments(options: Options, output: OutputOption = Output.table) -> None:
    """Of each model in each environment the deployment that began last, and how often they happen and fail."""
    info, started = families.ROLLOUT_INFO.name, families.ROLLOUT_STARTED.name
    where = ("model", "environment")
    wanted = {
        info: (*where, "version", "status"),
        started: (*where, "version"),
        **dict.fromkeys(_OF_ROLLOUT.values(), where),
    }
    found = _look(options, "rollouts/*", wanted)
    rows = [
        {
            "server": server,
            "model": model,
            "environment": environment,
            "version": version,
            "status": status,
            "began": found[started].get((server, model, environment, version)),
            **_values(found, _OF_ROLLOUT, (server, model, environment)),
        }
        for server, model, environment, version, status in sorted(found[info])
    ]
    _print(rows, output, times=("began",))


@production_commands.command("status")
@configured
def production_status(
    options: Options,
    deployment: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """What was predicted as yet, how long it took, how right it was, and what has drifted; from tracking.spool_dir."""
    spool = options.load_and_log(plugins_of_this_run(), quiet=True).tracking.spool_dir
    if spool is None:
        raise ConfigError(
            [ConfigProblem("tracking.spool_dir", "", "is not set: the directory that serving programs log to")]
        )
    from mlflow_monitoring_tracking.production import exposition
    from mlflow_monitoring_tracking.production.places import ProductionDirectory

    rows = [
        row
        for row in _status(exposition.families(ProductionDirectory.of(spool)))
        if deployment is None or row["deployment"] == deployment
    ]
    if deployment is not None and not rows:
        print_error(f"no deployment {deployment} has predicted anything in {spool}")
        raise typer.Exit(EXIT_FAILED)
    _print(rows, output)


@production_commands.command("alerts")
@configured
def production_alerts(
    options: Options,
    deployment: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    last_hours: Annotated[float, typer.Option(help="So far back; 0 means all.", min=0)] = 24,
    output: FormatOption = Format.table,
) -> None:
    """What programs told people of models in production: degradation, drift and thresholds, the newest last."""

    def wanted(alert: Mapping[str, Any]) -> bool:
        # The subject begins with the name of the model, and its metric follows.
        of = {str(alert["subject"]).split(" ")[0], alert.get("deployment"), alert.get("deployment_id")}
        return alert["kind"] in _OF_PRODUCTION and (deployment is None or deployment in of)

    print_history(options, output, last_hours=last_hours, wanted=wanted)


def _status(counted: Sequence[Family]) -> list[dict[str, Any]]:
    from mlflow_monitoring_tracking.production.buckets import LATENCY_MS, quantile

    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    buckets: dict[tuple[str, str, str], list[float]] = {}
    for family in counted:
        for suffix, pairs, value in family.samples:
            labels = dict(pairs)
            if "version" in labels:  # and not of trades
                of = labels["deployment"], labels["model"], labels["version"]
                names = {"deployment": of[0], "model": of[1], "version": of[2]}
                _tell(rows.setdefault(of, names | dict.fromkeys(_SHOWN)), family.name, labels, value)
                if family.name == f"{_PRODUCTION}prediction_latency_seconds" and suffix == "_bucket":
                    buckets.setdefault(of, []).append(value)
    for of, counts in buckets.items():
        each = [count - before for count, before in zip(counts, [0.0, *counts], strict=False)]
        for share in (50, 95, 99):
            rows[of][f"p{share}_ms"] = quantile(LATENCY_MS, each, share / 100)
    return [rows[of] for of in sorted(rows)]


def _tell(row: dict[str, Any], family: str, labels: Mapping[str, str], value: float) -> None:
    """What one series says to the row of its deployment."""
    if family == f"{_PRODUCTION}predictions_total":
        row["predictions"] = (row["predictions"] or 0) + value
        if labels["outcome"] == "error":
            row["errors"] = value
    elif family == f"{_PRODUCTION}quality" and labels["metric"] in _SHOWN:
        row[labels["metric"]] = value
    elif family == f"{_PRODUCTION}feature_drift_score" and labels["method"] == "psi" and value > _DRIFTED:
        row["drifted"] = ", ".join(filter(None, (row["drifted"], labels["feature"])))


#: As the rule has it.
_DRIFTED = 0.25
#: What a row of the status has besides its names.
_SHOWN = ("predictions", "errors", "p50_ms", "p95_ms", "p99_ms", "accuracy", "rmse", "drifted")


def _look(options: Options, experiments: str, wanted: Mapping[str, Sequence[str]]) -> Seen:
    config = options.load_and_log(plugins_of_this_run(), quiet=True)
    from mlflow_monitoring_exporter.app.one_look import seen
    from mlflow_monitoring_exporter.cli.progress import progress_bar

    with progress_bar() as progress:
        return seen(config, [experiments], dict(wanted), progress)


def _values(found: Seen, names: Mapping[str, str], of: tuple[str, ...]) -> dict[str, float | None]:
    return {what: found[family].get(of) for what, family in names.items()}


def _print(rows: Sequence[Mapping[str, Any]], output: Output, times: Sequence[str] = ()) -> None:
    """As a table without columns that are empty, or as JSON with all of them."""
    if output is Output.json:
        print_json([{**row, **{key: _time(row[key]) for key in times}} for row in rows])
        return
    keys = [key for key in (rows[0] if rows else ()) if any(row[key] not in {None, ""} for row in rows)]
    columns = [Column(key.replace("_", " "), overflow="fold", no_wrap=key in {"status", "version"}) for key in keys]
    print_table(columns, [[_text(row[key], is_time=key in times) for key in keys] for row in rows])


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso_utc(round(seconds * 1000))


def _text(value: Any, *, is_time: bool) -> str:
    if isinstance(value, float):
        return _time(value) or "" if is_time else f"{value:.6g}"
    return "" if value is None else str(value)
