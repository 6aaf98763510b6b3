"""From history points to samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlflow_monitoring_exporter.model import Point, RunContext, Sample


def to_samples(run: RunContext, points: Iterable[Point]) -> Iterator[Sample]:
    """The points of one run as samples, in the order of their steps and times."""
    for point in sorted(points, key=lambda p: (p.key, p.step, p.timestamp_ms)):
        yield Sample(run, point.key, point.step, point.timestamp_ms, point.value)
