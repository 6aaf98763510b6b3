"""What does Prometheus cost: to encode series, to be scraped while a poll runs, to show that one run moved?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contest import contest, report
from bench.polling import first_poll
from bench.store import Size, store


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    sizes = (1000, 10_000) if quick else (10_000, 100_000)
    return [*(_encoding(size) for size in sizes), _scrapes(directory, sizes[0]), _moved(directory, *sizes)]


def _encoding(series: int) -> dict[str, Any]:
    results = contest(
        {
            "prometheus_client.generate_latest": ("bench.exposing:prometheus_client", str(series)),
            "this exporter": ("bench.exposing:ours", str(series)),
            "one family of 200 changed": ("bench.exposing:ours_again", str(series)),
        }
    )
    title = f"encode {series} series"
    return report(title, results, "prometheus_client.generate_latest", amount="series")


def _scrapes(directory: Path, runs: int) -> dict[str, Any]:
    path = str(store(directory, Size(runs)))
    results = contest(
        {
            "between two polls": ("bench.exposing:scrapes", path, "1h"),
            "while polls run without a pause": ("bench.exposing:scrapes", path, "10ms"),
        }
    )
    title = f"p99 of scrapes (wall) and their median (cpu), {runs} runs, gzip"
    return report(title, results, "between two polls", amount="scrapes")


def _moved(directory: Path, small: int, large: int) -> dict[str, Any]:
    contenders = {}
    for runs in (small, large):
        path = store(directory, Size(runs))
        state = directory / f"state-{path.name}"
        if not state.exists():
            first_poll(f"sqlite:///{path.resolve()}", state, queue=False)
        contenders[f"{runs} runs"] = ("bench.exposing:moved", str(path), str(state))
    title = "a poll from the database after one run logged 20 metrics, shown and encoded"
    return report(title, contest(contenders), f"{small} runs", amount="polls")
