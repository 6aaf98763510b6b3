"""How long does an answer take? Of 10,000 runs beside MlflowClient, imports left out of both; and of 100,000 alone.

MlflowClient sorts 100,000 runs by a metric for minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contest import contest, report
from bench.store import Size, store
from tests.parts.mlflow_server import MlflowServer

#: What both can be asked.
_BOTH = ("best", "newest", "listed")
_ALONE = {
    "best": "the best ten",
    "by_day": "all runs by day",
    "side_by_side": "50 runs side by side with their curves",
}


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` asks about a tenth of the runs."""
    few, many = (1000, 10_000) if quick else (10_000, 100_000)
    path = store(directory, Size(few))
    reports = [
        _beside(question, f"sqlite:///{path}", f"{question}, from the database, {few} runs x 20 metrics")
        for question in _BOTH
    ]
    with MlflowServer(directory / "server", database=path) as server:
        title = f"best, over REST, {few} runs x 20 metrics, one server worker"
        reports.append(_beside("best", server.url, title))
    uri = f"sqlite:///{store(directory, Size(many, deep=50))}"
    for question, words in _ALONE.items():
        results = contest({"this tool": (f"bench.asking:{question}", uri)})
        reports.append(report(f"{words}, from the database, {many} runs", results, "this tool", amount="found"))
    return reports


def _beside(question: str, uri: str, title: str) -> dict[str, Any]:
    contenders = {
        "MlflowClient": (f"bench.asking_with_mlflow:{question}", uri),
        "this tool": (f"bench.asking:{question}", uri),
    }
    return report(title, contest(contenders), "MlflowClient", amount="found")
