"""What a snapshot shows, as tests compare it."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_monitoring_exporter.core.values import Snapshot


def all_series(snapshot: Snapshot) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every series."""
    for family in snapshot.families():
        for series in family.series:
            yield family.name, dict(zip(family.labels, series.labels, strict=True)), series.value


def metrics(snapshot: Snapshot) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every metric of a run."""
    for _, labels, value in all_series(snapshot):
        if "run_id" in labels and "metric" in labels:
            yield labels, value


def of_family(snapshot: Snapshot, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of one family, by the values of these labels."""
    return {tuple(found[label] for label in labels): value for n, found, value in all_series(snapshot) if n == name}
