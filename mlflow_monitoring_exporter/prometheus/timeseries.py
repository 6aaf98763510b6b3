"""Samples as Prometheus keeps them: series of labels, each with one value for a time.

What remote write sends and what ``backfill`` writes are the same series. Their ``run_id`` is the whole one: unlike
a snapshot, what was sent cannot be renamed when two short ones turn out to be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple, TypeVar

from mlflow_monitoring_exporter.core.plausible_times import EARLIEST_MS
from mlflow_monitoring_exporter.core.sample_columns import columns_of
from mlflow_monitoring_exporter.core.values import Sample
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened
from mlflow_monitoring_exporter.prometheus.names import family_name

K = TypeVar("K", bound=Hashable)

Labels = tuple[tuple[str, str], ...]
"""Name and value of each, sorted by name; ``__name__`` is one of them, and no value is empty."""

#: Milliseconds: clocks differ, but a sample that is further ahead of when it was read has a wrong time.
AHEAD = 600_000

#: The label ``job`` of every series, unless the operator says otherwise; the same as that of a push.
JOB = "mlflow_metrics"


class Dated(NamedTuple):
    """A value with its time, and where the sample that it comes from stood among the others."""

    timestamp_ms: int
    step: int
    value: float
    place: int

    @property
    def order(self) -> tuple[int, int]:
        """By time, and then by step. Not by value: NaN has no order."""
        return self.timestamp_ms, self.step


#: The key by which these are sorted.
BY_TIME = attrgetter("order")


def to_labels(sample: Sample, more: Mapping[str, str]) -> Labels:
    """The labels of a sample's series; ``more`` gives way to those that say what it is. None is too long."""
    labels = {
        **more,
        "__name__": _name(sample.key),
        "experiment_name": shortened(sample.run.experiment_name, OF_SAMPLES),
        "run_id": sample.run.run_id,
        "metric": shortened(sample.key, OF_SAMPLES),
    }
    if sample.run.server_name:
        labels["server"] = sample.run.server_name
    return tuple(sorted((name, value) for name, value in labels.items() if value))


@lru_cache(maxsize=10_000)
def _name(key: str) -> str:
    return shortened(family_name(key), OF_SAMPLES, mark="_")


def to_series(samples: Sequence[Sample], more: Mapping[str, str]) -> dict[Labels, list[Dated]]:
    """Samples by the labels of their series, in the order of time and step within each."""
    return by_series(samples, lambda sample: to_labels(sample, more))


def by_series(samples: Sequence[Sample], identity: Callable[[Sample], K]) -> dict[K, list[Dated]]:
    """The same by whatever tells series apart; it is asked once for each run and key."""
    found: dict[K, list[Dated]] = {}
    known: dict[tuple[int, str], list[Dated]] = {}
    columns = columns_of(samples)
    dated = map(Dated, columns.timestamps_ms, columns.steps, columns.values, range(len(columns)))
    for run, key, one in zip(columns.runs, columns.keys, dated, strict=True):
        series = known.get((id(run), key))
        if series is None:
            series = known[id(run), key] = found.setdefault(identity(columns[one.place]), [])
        series.append(one)
    for series in found.values():
        if len(series) > 1:
            series.sort(key=BY_TIME)
    return found


def ahead(samples: Sequence[Sample], read_ms: int) -> bool:
    """Whether any of these claims to be from after the moment when they were read."""
    return read_ms >= EARLIEST_MS and max(columns_of(samples).timestamps_ms, default=0) > read_ms + AHEAD


def clamped(series: list[Dated], read_ms: int) -> list[Dated]:
    """What claims to be from the future is from when it was read; by a millisecond each, so that order stays.

    ``series`` are in order. When they were read stays the same however often they are sent.
    """
    if not series or read_ms < EARLIEST_MS or series[-1].timestamp_ms <= read_ms + AHEAD:
        return series
    past = [one for one in series if one.timestamp_ms <= read_ms + AHEAD]
    now = (one._replace(timestamp_ms=read_ms + more) for more, one in enumerate(series[len(past) :]))
    return sorted([*past, *now], key=BY_TIME)


def spread(series: Iterable[Dated]) -> list[Dated]:
    """The same in times that strictly increase: MLflow takes many values for one time, Prometheus takes one.

    Each value after the first of its time is moved by as few milliseconds as it takes.
    """
    result: list[Dated] = []
    last: int | None = None
    for dated in series:
        moved = dated if last is None or dated.timestamp_ms > last else dated._replace(timestamp_ms=last + 1)
        result.append(moved)
        last = moved.timestamp_ms
    return result
