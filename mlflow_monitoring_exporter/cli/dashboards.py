"""``dashboards apply | export``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_monitoring_exporter.cli.output import (
    Output,
    OutputOption,
    print_json,
    print_result,
    print_table,
    replaced,
)
from mlflow_monitoring_exporter.config.fields import check_http_url
from mlflow_monitoring_exporter.config.section import Secret

dashboards_commands = typer.Typer(help="The shipped dashboards, for a Grafana of your own.", no_args_is_help=True)


def _url(value: str) -> str:
    try:
        return check_http_url(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@dashboards_commands.command("apply")
def apply(
    *,
    grafana: Annotated[str, typer.Option("--grafana", help="Address of the Grafana.", callback=_url)],
    token_file: Annotated[Path, typer.Option("--token-file", help="File with a service account's token.")],
    folder: Annotated[
        str, typer.Option("--folder", help="Title of the folder; made if there is none. Empty: the top level.")
    ] = "MLflow",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="PEM bundle that Grafana's certificate is checked against.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Create the dashboards in a Grafana, or bring them up to date; may be repeated.

    Exit code 1: Grafana does not answer, or refuses. 78: the token cannot be read.
    """
    token = Secret(file=token_file)
    token.get()
    from mlflow_monitoring_exporter.grafana.api import Grafana
    from mlflow_monitoring_exporter.grafana.shipped import dashboards

    there = Grafana(grafana, token, ca_file=ca_file)
    try:
        applied = there.apply(dashboards(), folder=folder, dry_run=dry_run)
    finally:
        there.close()
    if output is Output.json:
        print_json([{"name": one.name, "title": one.title, "result": one.result} for one in applied])
        return
    word = "would be " if dry_run else ""
    rows = [(one.title, one.name, one.result if one.result == "unchanged" else word + one.result) for one in applied]
    print_table(["dashboard", "file", "result"], rows)


@dashboards_commands.command("export")
def export(
    directory: Annotated[Path, typer.Argument(help="Where the JSON files go; made if it is not there.")],
) -> None:
    """Write the dashboards as JSON files, for Grafana's import or provisioning."""
    from mlflow_monitoring_exporter.core.errors import MonitoringExporterError
    from mlflow_monitoring_exporter.grafana.shipped import dashboards, to_text

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MonitoringExporterError(f"cannot make {directory}: {error.strerror}") from None
    found = dashboards()
    for name, dashboard in found.items():
        with replaced(directory / f"{name}.json") as file:
            file.write(to_text(dashboard).encode())
    print_result(f"{directory}: {len(found)} dashboards")
