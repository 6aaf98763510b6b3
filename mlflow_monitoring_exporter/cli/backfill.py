"""``backfill``"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_monitoring_exporter.cli.options import Options, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import EXIT_FAILED, print_error, print_result, replaced
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.prometheus.timeseries import JOB

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.app.backfill import BackfillReport


def backfill(
    options: Options,
    to: Annotated[Path, typer.Option("--to", help="File to write; it is replaced as a whole.")] = Path("mlflow.om"),
    job_name: Annotated[str, typer.Option(help="The label job of every series.")] = JOB,
    label: Annotated[
        list[str] | None, typer.Option(help="One more label of every series. Repeatable.", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Write all that MLflow remembers as OpenMetrics, for promtool to make blocks of.

    Exit code 0: all is written. 1: MLflow or the file failed, or records had to be skipped. 78: the configuration is
    wrong.
    """
    labels = dict(map(_pair, label or ()))
    config = options.load_and_log(plugins_of_this_run(), quiet=True)
    from mlflow_monitoring_exporter.app.backfill import backfill as write_everything
    from mlflow_monitoring_exporter.cli.progress import progress_bar

    with progress_bar() as progress, replaced(to) as file:
        report = write_everything(config, file, labels={**labels, "job": job_name}, progress=progress)
    print_result(_say(report, to))
    if report.skipped:
        print_error(f"{report.skipped} records of MLflow could not be read")
        raise typer.Exit(EXIT_FAILED)


def _pair(text: str) -> tuple[str, str]:
    from mlflow_monitoring_exporter.config.fields import check_label, repeated

    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError([ConfigProblem("--label", "", f"{repeated(text)}is not NAME=VALUE, as in cluster=gpu-1")])
    try:
        return check_label(name), value
    except ValueError as error:
        raise ConfigError([ConfigProblem("--label", "", str(error))]) from None


def _say(report: BackfillReport, to: Path) -> str:
    lines = [f"{to}: {report.samples} samples of {report.series} series, {report.runs} runs"]
    if report.first_ms is not None and report.last_ms is not None:
        lines[0] += f", from {_day(report.first_ms)} to {_day(report.last_ms)}"
        lines.append(f"next: promtool tsdb create-blocks-from openmetrics {to} <data directory of Prometheus>")
    if report.left_out:
        lines.append(f"left out: {report.left_out} sample{'s' * (report.left_out != 1)} whose time is in the future")
    return "\n".join(lines)


def _day(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
