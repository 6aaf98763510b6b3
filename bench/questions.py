"""How long does an answer about 100,000 runs take? Beside MlflowClient on the same store, imports left out of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contest import contest, report
from bench.store import Size, store
from tests.parts.mlflow_server import MlflowServer

#: What both can be asked; of all runs MlflowClient takes minutes.
_BOTH = ("best", "newest", "listed")
_OURS = {"by_day": "all runs by day", "side_by_side": "50 runs side by side with their curves"}


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` asks about a tenth of the runs."""
    runs = 10_000 if quick else 100_000
    path = store(directory, Size(runs, deep=50))
    uri = f"sqlite:///{path}"
    reports = []
    for question in _BOTH:
        contenders = {
            "MlflowClient": (f"bench.asking_with_mlflow:{question}", uri),
            "this tool": (f"bench.asking:{question}", uri),
        }
        title = f"{question}, from the database, {runs} runs x 20 metrics"
        reports.append(report(title, contest(contenders), "MlflowClient", amount="found"))
    for question, words in _OURS.items():
        title = f"{words}, from the database, {runs} runs x 20 metrics"
        results = contest({"this tool": (f"bench.asking:{question}", uri)})
        reports.append(report(title, results, "this tool", amount="runs"))
    with MlflowServer(directory / "server", database=path) as server:
        contenders = {
            "MlflowClient": ("bench.asking_with_mlflow:best", server.url),
            "this tool": ("bench.asking:best", server.url),
        }
        title = f"best, over REST, {runs} runs x 20 metrics, one server worker"
        reports.append(report(title, contest(contenders), "MlflowClient", amount="found"))
    return reports
