"""``exporters list``"""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlflow_monitoring_exporter.cli.options import plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import Output, OutputOption, print_json, redactor

exporters_commands = typer.Typer(help="What can be exported to.", no_args_is_help=True)


@exporters_commands.command("list")
def list_exporters(output: OutputOption = Output.table) -> None:
    """Show every exporter that is installed, those that cannot be used with the reason."""
    found = plugins_of_this_run().listing()
    if output is Output.json:
        print_json([asdict(one) for one in found])
        return
    table = Table("type", "mode", "from", "contract", "result", box=None, pad_edge=False, header_style="bold")
    for one in found:
        result = "[green]ok[/]" if one.problem is None else f"[red]{escape(redactor.text(one.problem))}[/]"
        table.add_row(escape(one.name), one.mode or "", escape(one.origin), str(one.contract or ""), result)
    Console().print(table)
