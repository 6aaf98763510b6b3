"""``metrics``"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlflow_monitoring_exporter.cli.options import Options, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import Output, OutputOption, print_json, redactor
from mlflow_monitoring_exporter.cli.progress import progress_bar
from mlflow_monitoring_exporter.verdicts import judge, judge_all

_WORDS = {"max": "more", "min": "less", None: "cannot be said"}


def metrics(
    options: Options,
    key: Annotated[
        list[str] | None, typer.Argument(help="Keys to judge without asking MLflow. [default: all that MLflow has]")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Say of every metric key which way is better, and why.

    Exit code 1: MLflow cannot be read. 78: the configuration is wrong.
    """
    config = options.load_and_log(plugins_of_this_run(), quiet=True)
    if key:
        found = judge(config, key)
    else:
        with progress_bar() as progress:
            found = judge_all(config, progress)
    if output is Output.json:
        print_json([asdict(one) for one in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric", overflow="fold")
    table.add_column("better", no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in found:
        where = f", in {', '.join(one.experiments)}" if one.experiments else ""
        table.add_row(
            *(escape(_plain(redactor.text(cell))) for cell in (one.metric, _WORDS[one.better], f"{one.why}{where}"))
        )
    Console().print(table)


def _plain(text: str) -> str:
    """On one line, whatever a name holds."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
