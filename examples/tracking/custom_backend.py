"""A back end of one's own: a CSV file. It needs two methods; what else it has is called, too."""

from __future__ import annotations

import csv
from pathlib import Path

from tracking import ExperimentTracker


class CsvFile:
    """Called by a thread of its own, one call at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", newline="")
        self._rows = csv.writer(self._file)

    def log_param(self, key: str, value: object) -> None:
        self._write("param", key, "", value)

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        self._write("metric", key, step, value)

    def _write(self, *row: object) -> None:
        self._rows.writerow(row)
        self._file.flush()


def main() -> None:
    tracker = ExperimentTracker()
    tracker.backends["csv"] = CsvFile(Path("metrics.csv"))
    with tracker.start_run("my_experiment", "to_csv") as exp:
        exp.log_param("learning_rate", 0.01)
        for step in range(10):
            exp.log_metric("loss", 1 / (step + 1), step=step)
        exp.wait_synced(timeout=60)


if __name__ == "__main__":
    main()
