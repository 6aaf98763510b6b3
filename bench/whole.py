"""What does the whole way cost, from MLflow to a file: read, remembered, queued, encoded, synced?

The yardsticks are scripts that do the same without selecting, remembering or being durable: what they need is the least
that it can cost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contest import contest, report
from bench.store import Size, store
from tests.parts.mlflow_server import MlflowServer

_OURS = "export-once"
_STEP = 900
"""Where the only point of a series is: steps are those of a training's batches, and say nothing of how many points."""


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    directory = directory.resolve()
    runs = 1000 if quick else 10_000
    flat = Size(runs, only_step=_STEP)
    deep = Size(runs // 10, deep=runs // 200, only_step=_STEP)
    reports = [_from_database(directory, flat, history) for history in ("true", "false")]
    reports.append(_from_database(directory, deep, "true"))
    server_size = Size(runs // 10, only_step=_STEP)
    with MlflowServer(directory / "server-whole", database=store(directory, server_size)) as server:
        for history in ("true", "false"):
            results = contest(
                {
                    "a bare loop of requests": (
                        "bench.whole_loads:requests_to_file",
                        server.url,
                        str(directory),
                        history,
                    ),
                    _OURS: ("bench.polling:export_once", server.url, str(directory), history),
                }
            )
            what = "with histories" if history == "true" else "without histories"
            title = f"export-once over REST to a file, {what}, {server_size.runs} runs x 20 metrics"
            reports.append(report(title, results, "a bare loop of requests", amount="points"))
    return [*reports, *_memory(directory, quick=quick)]


def _from_database(directory: Path, size: Size, history: str) -> dict[str, Any]:
    path = store(directory, size)
    results = contest(
        {
            "plain SQL": ("bench.whole_loads:sql_to_file", str(path), str(directory), history),
            _OURS: ("bench.polling:export_once", f"sqlite:///{path}", str(directory), history),
        }
    )
    what = f"{size.deep} runs with {size.steps} points a metric" if size.deep else "one point a metric"
    title = f"export-once from the database to a file, history: {history}, {size.runs} runs x 20 metrics, {what}"
    return report(title, results, "plain SQL", amount="points")


def _memory(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Peak memory of a first poll that shows gauges, of as many series in other shapes."""
    series = 200_000 if quick else 2_000_000
    shapes = {
        "20 metrics a run": Size(series // 20),
        "10,000 metrics a run": Size(series // 10_000, metrics=10_000, params=1),
        "10,000 experiments": Size(series // 20, experiments=10_000),
    }
    contenders = {
        name: ("bench.whole_loads:first_load", f"sqlite:///{store(directory, size)}", str(directory))
        for name, size in shapes.items()
    }
    return [
        report(
            f"a first poll of {series} series from the database, shown",
            contest(contenders, rounds=1),
            "20 metrics a run",
            amount="series",
        )
    ]
