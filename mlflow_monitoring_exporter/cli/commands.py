"""The command line."""

from __future__ import annotations

import gc
import io
import logging
import os
import platform
import sys
import traceback
from typing import Any

import typer

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.cli import compare, questions, report, sample
from mlflow_monitoring_exporter.cli.alerts import alerts_commands
from mlflow_monitoring_exporter.cli.around import deployments_commands, pipelines_commands, production_commands
from mlflow_monitoring_exporter.cli.audit import audit_commands
from mlflow_monitoring_exporter.cli.backfill import backfill
from mlflow_monitoring_exporter.cli.config import config_commands
from mlflow_monitoring_exporter.cli.dashboards import dashboards_commands
from mlflow_monitoring_exporter.cli.exporters import exporters_commands
from mlflow_monitoring_exporter.cli.metrics import metrics
from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_OK,
    Output,
    OutputOption,
    print_error,
    print_report,
    print_result,
    printable,
    redactor,
)
from mlflow_monitoring_exporter.cli.prometheus import prometheus_commands
from mlflow_monitoring_exporter.cli.queue import queue_commands
from mlflow_monitoring_exporter.core import shutdown
from mlflow_monitoring_exporter.core.errors import ConfigError, MonitoringExporterError
from mlflow_monitoring_exporter.core.foreign_text import in_text

app = typer.Typer(
    help="Keeps Prometheus, OpenTelemetry and JSON sinks in step with an MLflow tracking server.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(pipelines_commands, name="pipelines")
app.add_typer(deployments_commands, name="deployments")
app.add_typer(production_commands, name="production")
app.add_typer(alerts_commands, name="alerts")
app.add_typer(audit_commands, name="audit")
app.add_typer(config_commands, name="config")
app.add_typer(queue_commands, name="queue")
app.add_typer(prometheus_commands, name="prometheus")
app.add_typer(exporters_commands, name="exporters")
app.add_typer(dashboards_commands, name="dashboards")


#: Python looks for circles among objects after every 700 new ones, and at all objects after every 70,000. What is read
#: here are millions of tuples, in no circle: a fifth of the processor's time went into looking at them.
_GC_THRESHOLDS = (50_000, 20, 100)


@app.command("export-once")
@configured
def export_once(options: Options, output: OutputOption = Output.table) -> None:
    """Read MLflow once, deliver everything that is new, and exit.

    Exit code 0: all delivered. 1: something was not, and waits for the next time. 78: the
    configuration is wrong.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    plugins = plugins_of_this_run()
    config = options.load_and_log(plugins, quiet=True)
    from mlflow_monitoring_exporter.app.export_once import export_once as export_everything_once
    from mlflow_monitoring_exporter.cli.progress import progress_bar

    with progress_bar() as progress:
        report = export_everything_once(config, plugins, progress)
    print_report(report, output)
    raise typer.Exit(EXIT_OK if report.ok else EXIT_FAILED)


@app.command()
@configured
def continuous(options: Options) -> None:
    """Poll MLflow at every interval and deliver, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again.
    """
    from mlflow_monitoring_exporter.app.daemon import Daemon

    gc.set_threshold(*_GC_THRESHOLDS)
    plugins = plugins_of_this_run()
    Daemon(lambda: options.load_and_log(plugins), plugins).run()
    logging.shutdown()
    shutdown.leave()


@app.command("check")
@configured
def check(options: Options, output: OutputOption = Output.table) -> None:
    """Reach MLflow and every exporter, and say what would be sent where. Changes nothing.

    Exit code 0: everything can be reached. 1: something cannot. 78: the configuration is wrong.
    """
    plugins = plugins_of_this_run()
    config = options.load_and_log(plugins, quiet=True)
    from mlflow_monitoring_exporter.app.check import check as check_everything
    from mlflow_monitoring_exporter.cli.progress import progress_bar

    with progress_bar() as progress:
        report = check_everything(config, plugins, progress)
    print_report(report, output, planned=True)
    raise typer.Exit(EXIT_OK if report.ok else EXIT_FAILED)


for name, question in (
    ("list-experiments", questions.list_experiments),
    ("show-run", questions.show_run),
    ("best-runs", questions.best_runs),
    ("compare-runs", compare.compare_runs),
    ("query-history", questions.query_history),
    ("importance", questions.importance),
    ("lint", questions.lint),
    ("generate-report", report.generate_report),
):
    app.command(name)(configured(question))
app.command("metrics")(configured(metrics))
app.command("backfill")(configured(backfill))
app.command("generate-sample")(configured(sample.generate_sample))


@app.command()
def version() -> None:
    """Print the version."""
    print_result(f"mlflow-monitoring-exporter {__version__} (Python {platform.python_version()})")


#: What was typed is wrong: click's class, which newer releases of typer have inside.
_TypedError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run() -> None:
    """Run the command line; every error is a line for people, and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding is no reason to fail
    try:
        try:
            sys.exit(app(standalone_mode=False))
        finally:
            sys.stdout.flush()
    except _TypedError as error:
        from typer.rich_utils import rich_format_error

        said = printable(error.format_message())
        error.format_message = lambda: said  # it repeats what was typed
        rich_format_error(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        print_error("aborted")
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read us (| head) has enough. Not by SIGPIPE: a peer that hangs up must not end a daemon.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in the buffer
        sys.exit(EXIT_FAILED)
    except ConfigError as error:
        print_error(error)
        sys.exit(EXIT_CONFIG)
    except MonitoringExporterError as error:
        print_error(error)
        sys.exit(EXIT_FAILED)
    except Exception:  # noqa: BLE001 - a bug: the traceback is for its report, without secrets
        sys.stderr.write(in_text(redactor.text(traceback.format_exc())))
        print_error("this is a bug; please report it with the lines above")
        sys.exit(EXIT_FAILED)
