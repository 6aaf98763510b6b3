"""All runs of one experiment, column by column: what aggregates and rankings need, in little memory.

Every poll changes a few values out of, perhaps, millions. So each key has its values in one packed
array, beside an array of the places (runs) that they belong to: twelve bytes for each value, found by
bisection, and read through by functions that run in C.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice

from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.transform.nesting import Nesting
from mlflow_monitoring_exporter.transform.search_events import (
    ENDED,
    FINISHED,
    NO_RUN,
    OPEN,
    STATUSES,
    Places,
    SearchEvents,
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the finite values of one key in all runs: population standard deviation, like PromQL's ``stddev``."""

    mean: float
    min: float
    max: float
    stddev: float


class _Column:
    """The values of one key, in the order of their places."""

    __slots__ = ("places", "values")

    def __init__(self) -> None:
        self.places = array("i")
        self.values = array("d")

    def put(self, place: int, value: float) -> bool:
        """Whether the place had no value before."""
        if not self.places or place > self.places[-1]:  # as nearly all come
            self.places.append(place)
            self.values.append(value)
            return True
        at = bisect_left(self.places, place)
        if self.places[at] == place:
            self.values[at] = value
            return False
        self.places.insert(at, place)
        self.values.insert(at, value)
        return True

    def drop(self, place: int) -> bool:
        """Whether the place had a value."""
        at = bisect_left(self.places, place)
        if at == len(self.places) or self.places[at] != place:
            return False
        del self.places[at], self.values[at]
        return True

    def __getitem__(self, place: int) -> float:
        return self.values[bisect_left(self.places, place)]


class ExperimentTable:
    """The runs of one experiment. ``changed`` holds the keys of which anything differs since it was cleared.

    With ``nested`` a run and all that are nested in it are one event, otherwise each is one of its own.
    """

    def __init__(self, *, nested: bool = True) -> None:
        self._nested = nested
        self._nesting = Nesting()
        self._changed: set[str] = set()
        self._places: dict[str, int] = {}
        self._run_ids: list[str] = []
        self._status = bytearray()
        self._start = array("q")
        self._end = array("q")
        self._last_start: int | None = 0  # None when it has to be looked for
        self._keys = array("q")  # how many the run has
        self._free: list[int] = []
        self._columns: dict[str, _Column] = {}

    def put(self, run: RunGauges) -> None:
        """Take over a run as it is now."""
        place = self._place(run.run_id)
        self._restart(place, run.start_ms or 0)
        before = (self._status[place], self._start[place], self._end[place])
        facts = (STATUSES.index(run.status), run.start_ms or 0, run.end_ms or run.start_ms or run.last_ms or 0)
        self._status[place], self._start[place], self._end[place] = facts
        if self._nested:
            self._nest(place, run.parent_run_id, before)
        for key, value in run.values.items():
            column = self._columns.get(key) or self._columns.setdefault(key, _Column())
            self._keys[place] += column.put(place, value)
        if self._keys[place] > len(run.values):
            self._clear(place, keep=run.values.keys())
        self._changed.update(run.values)

    def drop(self, run_id: str) -> bool:
        """Forget a run; whether it was there."""
        place = self._places.get(run_id)
        if place is None or self._status[place] == NO_RUN:
            return False
        self._clear(place, keep=())
        self._restart(place, 0)
        self._status[place], self._start[place], self._end[place] = NO_RUN, 0, 0
        if self._nesting.has_children(place):
            self._changed.update(self._columns)
        self._move(place, None)
        self._release(place)
        return True

    def take_changed(self) -> set[str]:
        """The keys of which anything is different since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def __iter__(self) -> Iterator[str]:
        """Every key that any run has, sorted."""
        return iter(sorted(self._columns))

    def __contains__(self, key: str) -> bool:
        """Whether any run has this key."""
        return key in self._columns

    def counts(self) -> dict[RunStatus, int]:
        """How many runs have each of MLflow's statuses."""
        return {status: self._status.count(at) for at, status in enumerate(STATUSES)}

    def runs_with(self, key: str) -> int:
        """How many runs have a value of ``key``."""
        column = self._columns.get(key)
        return 0 if column is None else len(column.places)

    def status(self, run_id: str) -> RunStatus | None:
        """None for a run that is not here."""
        place = self._places.get(run_id)
        return None if place is None or self._status[place] == NO_RUN else STATUSES[self._status[place]]

    def last_start_ms(self) -> int:
        """When the run that started last did so; 0 when none says."""
        if self._last_start is None:
            self._last_start = max(self._start)
        return self._last_start

    def open_runs(self) -> list[str]:
        """The runs that have not ended."""
        return [self._run_ids[place] for place in self._chosen(OPEN)]

    def last_ended(self, count: int) -> list[str]:
        """The ``count`` runs that ended last, whichever way; without an end, the start or the last metric counts."""
        return [self._run_ids[place] for place in nlargest(count, self._chosen(ENDED), key=self._by_end)]

    def best(self, count: int, key: str, direction: Direction) -> list[str]:
        """The ``count`` runs with the best finite value of ``key``; of equal ones the newest."""
        column = self._columns[key]
        finite = [pair for pair in zip(column.values, column.places, strict=True) if math.isfinite(pair[0])]
        sign = 1 if direction is Direction.MAX else -1

        def rank(pair: tuple[float, int]) -> tuple[float, int, str]:
            value, place = pair
            return sign * value, self._start[place], self._run_ids[place]

        return [self._run_ids[place] for _, place in nlargest(count, finite, key=rank)]

    def newest(self, key: str, direction: Direction | None) -> float:
        """The value of the event that started last: of its root, else the best of what is nested in it.

        Where it cannot be said what is best, that of the nested run that started last.
        """
        column = self._columns[key]
        if self._nesting:
            return self._events(column, direction).newest()
        newest = max(map(self._start.__getitem__, column.places))
        last = max((p for p in column.places if self._start[p] == newest), key=self._run_ids.__getitem__)
        return column[last]

    def last_finished(self, key: str, direction: Direction | None) -> list[float]:
        """The values of the event that finished last and of the one before, as far as there are any.

        The value of an event is that of its root, else the best of what is nested in it, as far as that finished.
        """
        column = self._columns[key]
        if self._nesting:
            return list(islice(self._events(column, direction).finished(), 2))
        finished = [place for place in column.places if self._status[place] == FINISHED]
        return [column[place] for place in nlargest(2, finished, key=self._by_end)]

    def spread(self, key: str) -> Spread | None:
        """None when no run has a finite value."""
        values = list(filter(math.isfinite, self._columns[key].values))
        return spread_of(values) if values else None

    def _restart(self, place: int, start_ms: int) -> None:
        """Before a start is written: what becomes of the last one."""
        if self._last_start is not None and start_ms >= self._last_start:
            self._last_start = start_ms
        elif self._start[place] == self._last_start:
            self._last_start = None

    def _by_end(self, place: int) -> tuple[int, str]:
        return self._end[place], self._run_ids[place]

    def _events(self, column: _Column, direction: Direction | None) -> SearchEvents:
        places = Places(self._status, self._start, self._end, self._run_ids, self._nesting)
        return SearchEvents(places, column.places, column.values, direction)

    def _nest(self, place: int, parent_run_id: str | None, before: tuple[int, int, int]) -> None:
        """A run is nested in that one now. ``before`` were its status, start and end."""
        around = None
        if parent_run_id and parent_run_id != self._run_ids[place]:
            around = self._place(parent_run_id)
        is_new, is_parent = before[0] == NO_RUN, self._nesting.has_children(place)
        moved = self._move(place, around)
        if is_parent and (is_new or moved):
            self._changed.update(self._columns)
        elif is_parent and before != (self._status[place], self._start[place], self._end[place]):
            nested = self._nesting.below(place)
            self._changed.update(key for key, column in self._columns.items() if not nested.isdisjoint(column.places))

    def _move(self, place: int, around: int | None) -> bool:
        """Nest a place in another one, or in none; whether that is new."""
        before = self._nesting.parent(place)
        self._nesting.put(place, around)
        if before is not None and before != around:
            self._release(before)
        return before != around

    def _release(self, place: int) -> None:
        """A place that no run has, and nothing is nested in, is free."""
        if self._status[place] == NO_RUN and not self._nesting.has_children(place):
            del self._places[self._run_ids[place]]
            self._free.append(place)

    def _place(self, run_id: str) -> int:
        place = self._places.get(run_id)
        if place is None:
            if self._free:
                place = self._free.pop()
                self._run_ids[place] = run_id
            else:
                place = len(self._run_ids)
                self._run_ids.append(run_id)
                self._status.append(NO_RUN)
                for column in (self._start, self._end, self._keys):
                    column.append(0)
                self._nesting.add()
            self._places[run_id] = place
        return place

    def _clear(self, place: int, keep: Iterable[str]) -> None:
        for key in self._columns.keys() - set(keep):
            column = self._columns[key]
            if column.drop(place):
                self._keys[place] -= 1
                self._changed.add(key)
                if not column.places:
                    del self._columns[key]

    def _chosen(self, statuses: frozenset[int]) -> list[int]:
        return [place for place, status in enumerate(self._status) if status in statuses]


#: A variance below which squares lose digits: they approach the smallest double.
_TINY = 1e-280


def spread_of(values: Sequence[float]) -> Spread:
    """Of finite values, one at least. Sums are exact, so their order does not matter."""
    low, high = min(values), max(values)
    scale = 1.0
    mean, square = _moments(values)
    if not math.isfinite(square) or (square < _TINY and low < high):  # squares beyond a double: in units of the largest
        scale = max(abs(low), abs(high))
        mean, square = _moments([value / scale for value in values])
    # A mean that is rounded may lie outside.
    return Spread(min(max(mean * scale, low), high), low, high, math.sqrt(square) * scale)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and variance; infinite if a sum is."""
    count = len(values)
    try:
        mean = math.fsum(values) / count
        return mean, math.fsum([(value - mean) * (value - mean) for value in values]) / count
    except OverflowError:
        return math.inf, math.inf
