"""``generate-sample``"""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_monitoring_exporter.cli.options import Options, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import print_result
from mlflow_monitoring_exporter.core import shutdown

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.config.schema import MlflowConfig
    from mlflow_monitoring_exporter.sample.generate import Generated
    from mlflow_monitoring_exporter.sample.production import Production


def generate_sample(
    options: Options,
    runs: Annotated[int, typer.Option(min=1, help="How many runs to write.")] = 24,
    seed: Annotated[int, typer.Option(help="The same seed gives the same runs.")] = 1,
    live: Annotated[bool, typer.Option("--live", help="Then keep a few runs moving until Ctrl-C.")] = False,
    production: Annotated[
        bool, typer.Option("--production", help="Also pipelines, deployments and predictions, in tracking.spool_dir.")
    ] = False,
) -> None:
    """Write realistic demo runs to MLflow: five experiments, nested runs, a failure, a NaN, a champion."""
    loaded = options.load_and_log(plugins_of_this_run(), quiet=not live)
    config = loaded.mlflow
    around = _production(loaded.tracking.spool_dir, seed) if production else None
    written = _generate(config, runs, seed)
    print_result(
        f"wrote {written.runs} runs with {written.points} points in {written.experiments} experiments "
        f"to {config.tracking_uri}"
    )
    if around is not None:
        print_result(f"wrote {around.write()} predictions to {loaded.tracking.spool_dir}")
    if live:
        import structlog

        from mlflow_monitoring_exporter.sample.live import run_live

        log = structlog.get_logger(__name__)
        stop = threading.Event()
        shutdown.handle(lambda _number: stop.set())
        if around is not None:
            tell = functools.partial(_told, log)
            threading.Thread(target=around.run_live, args=(stop, tell), name="production", daemon=True).start()
        run_live(
            config,
            seed=seed,
            stop=stop,
            on_logged=lambda line: log.info("logged", what=line),
            on_trouble=lambda line: log.warning("not logged", reason=line),
        )


def _told(log: Any, line: str) -> None:
    log.info("predicted", what=line)


def _production(spool: Path | None, seed: int) -> Production:
    """What writes into the spool. Raises ConfigError without one."""
    from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

    if spool is None:
        raise ConfigError(
            [
                ConfigProblem(
                    "tracking.spool_dir", "", "is needed for --production: a directory for what serving programs log"
                )
            ]
        )
    from mlflow_monitoring_exporter.sample.production import Production

    return Production(spool, seed)


def _generate(config: MlflowConfig, runs: int, seed: int) -> Generated:
    """With a progress bar on a terminal, silent on a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mlflow_monitoring_exporter.sample.generate import generate

    console = Console(stderr=True)
    with Progress(
        TextColumn("writing runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("runs", total=runs)
        return generate(
            config, runs=runs, seed=seed, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
