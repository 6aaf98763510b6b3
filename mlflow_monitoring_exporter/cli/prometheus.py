"""``prometheus rules generate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import print_result, replaced

prometheus_commands = typer.Typer(help="Files for Prometheus.", no_args_is_help=True)
_rules = typer.Typer(help="Rules for alerts.", no_args_is_help=True)
prometheus_commands.add_typer(_rules, name="rules")


@_rules.command("generate")
@configured
def generate(
    options: Options,
    to: Annotated[
        Path | None, typer.Option("--to", help="File to write; it is replaced as a whole. [default: standard output]")
    ] = None,
) -> None:
    """Write the rules file for the `alerts` of the configuration.

    Exit code 78: the configuration is wrong, and nothing is written.
    """
    # It runs where Prometheus is, perhaps, and the exporter's secrets are not.
    config = options.load(plugins_of_this_run(), secrets=False)
    from mlflow_monitoring_exporter.prometheus.alert_rules import to_yaml

    text = to_yaml(config)
    if to is None:
        print_result(text)
        return
    with replaced(to) as file:
        file.write(text.encode())
    print_result(f"{to}: {len(config.alerts)} alert{'' if len(config.alerts) == 1 else 's'}")
