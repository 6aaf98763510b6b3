"""``prometheus rules generate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import print_result, print_warning, replaced

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
    alertmanager: Annotated[
        Path | None,
        typer.Option(
            "--alertmanager", help="File for Alertmanager's configuration, from `notifications`, to write too."
        ),
    ] = None,
) -> None:
    """Write the rules file for the `alerts` of the configuration.

    Exit code 78: the configuration is wrong, and nothing is written.
    """
    # It runs where Prometheus is, perhaps, and the exporter's secrets are not.
    config = options.load(plugins_of_this_run(), secrets=False)
    from mlflow_monitoring_exporter.prometheus import alert_rules
    from mlflow_monitoring_exporter.prometheus import alertmanager as receivers

    text = alert_rules.to_yaml(config)
    known = config.notifications.configured
    if alertmanager is not None:
        told = ", ".join(known) or "none; no notification is sent"
        _write(alertmanager, receivers.to_yaml(config), f"receivers: {told}")
        for name, alert in config.alerts.items():
            if unknown := [action for action in alert.action if action not in known]:
                print_warning(f"alerts.{name}.action: {', '.join(unknown)} is not in notifications, and gets nothing")
    if to is not None:
        _write(to, text, f"{len(config.alerts)} alert{'' if len(config.alerts) == 1 else 's'}")
    elif alertmanager is None:
        print_result(text)


def _write(path: Path, text: str, what: str) -> None:
    with replaced(path) as file:
        file.write(text.encode())
    print_result(f"{path}: {what}")
