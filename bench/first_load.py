"""How long does it take to read everything once?

Over REST the yardstick is a bare loop of the same requests, from the database it is plain SQL into
dictionaries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contest import contest, report
from bench.store import Size, store
from tests.parts.mlflow_server import MlflowServer


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    runs = 1000 if quick else 10_000
    path = store(directory, Size(runs))
    results = contest(
        {
            "plain SQL": ("bench.reading:plain_sql", str(path)),
            "this exporter": ("bench.reading:ours_from_database", str(path)),
            "MlflowClient": ("bench.reading_with_mlflow:mlflow_client", f"sqlite:///{path}"),
        }
    )
    title = f"first load from the database, {runs} runs x 20 metrics"
    reports = [report(title, results, "plain SQL", amount="metrics")]
    with MlflowServer(directory / "server", database=path) as server:
        results = contest(
            {
                "a bare loop of requests": ("bench.reading:bare_requests", server.url),
                "this exporter": ("bench.reading:ours_over_rest", server.url),
            }
        )
    title = f"first load over REST, {runs} runs x 20 metrics, one server worker"
    return [*reports, report(title, results, "a bare loop of requests", amount="metrics")]
