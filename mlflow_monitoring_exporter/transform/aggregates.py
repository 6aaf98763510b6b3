"""One number for all runs of an experiment: of each key the latest, best, mean, smallest and largest value ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions
from mlflow_monitoring_exporter.transform.experiment_table import ExperimentTable


class Aggregate(NamedTuple):
    """Of one key in one experiment. What cannot be said is None.

    ``latest`` is the value of the run that started last and ``finished`` that of the run that finished
    last, whatever they are; ``delta`` by how much the latter is better than the one that finished before
    it. For these three a search is one run (transform/search_events.py). The others are of the finite values of all
    runs, or a single NaN would hide all the rest.
    """

    latest: float
    finished: float | None = None
    best: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    stddev: float | None = None
    delta: float | None = None

    @property
    def known(self) -> int:
        """How many of them can be said."""
        return len(self) - self.count(None)


class Aggregates:
    """The aggregates of one experiment, computed again for keys that changed."""

    def __init__(self, table: ExperimentTable, directions: Directions) -> None:
        self._table = table
        self._directions = directions
        self._known: dict[str, Aggregate] = {}

    def judge_by(self, directions: Directions) -> None:
        """From now on by these; what was computed by others is computed again."""
        if directions is not self._directions:
            self._directions = directions
            self._known = {}

    def update(self) -> Mapping[str, Aggregate]:
        """Compute again what changed since the last update; every key with its aggregate, in the order of keys."""
        changed = self._table.take_changed()
        self._known = {
            key: _aggregate(self._table, key, self._directions)
            if key in changed or key not in self._known
            else self._known[key]
            for key in self._table
        }
        return self._known


def _aggregate(table: ExperimentTable, key: str, directions: Directions) -> Aggregate:
    direction = directions.of(key)
    ended = table.last_finished(key, direction)
    latest = table.newest(key, direction)
    finished = ended[0] if ended else None
    delta = directions.improvement(key, *ended) if len(ended) == 2 else None
    spread = table.spread(key)
    if spread is None:
        return Aggregate(latest, finished, delta=delta)
    best = {Direction.MIN: spread.min, Direction.MAX: spread.max, None: None}[direction]
    return Aggregate(latest, finished, best, spread.mean, spread.min, spread.max, spread.stddev, delta)
