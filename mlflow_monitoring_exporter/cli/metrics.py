"""``metrics``"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from mlflow_monitoring_exporter.cli.options import Options, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import Output, OutputOption, print_json, print_table

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.app.metric_directions import Judged

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
    from mlflow_monitoring_exporter.app.metric_directions import judge, judge_all
    from mlflow_monitoring_exporter.cli.progress import progress_bar

    if key:
        found = judge(config, key)
    else:
        with progress_bar() as progress:
            found = judge_all(config, progress)
    if output is Output.json:
        print_json([asdict(one) for one in found])
        return
    columns = [Column("metric", overflow="fold"), Column("better", no_wrap=True), Column("why", overflow="fold")]
    print_table(columns, map(_row, found))


def _row(one: Judged) -> tuple[str, str, str]:
    where = f", in {', '.join(one.experiments)}" if one.experiments else ""
    return one.metric, _WORDS[one.better], f"{one.why}{where}"
