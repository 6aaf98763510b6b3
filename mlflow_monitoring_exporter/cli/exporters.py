"""``exporters list``"""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.text import Text

from mlflow_monitoring_exporter.cli.options import plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import Output, OutputOption, print_json, print_table

exporters_commands = typer.Typer(help="What can be exported to.", no_args_is_help=True)


@exporters_commands.command("list")
def list_exporters(output: OutputOption = Output.table) -> None:
    """Show every exporter that is installed, those that cannot be used with the reason."""
    found = plugins_of_this_run().listing()
    if output is Output.json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ["type", "mode", "from", "contract", "result"],
        [
            (
                one.name,
                one.mode or "",
                one.origin,
                str(one.contract or ""),
                Text("ok", "green") if one.problem is None else Text(one.problem, "red"),
            )
            for one in found
        ],
    )
