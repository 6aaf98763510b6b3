"""The values of one key by event: a run, or a search with all of its candidates (transform/nesting.py).

::

    search            FINISHED      an event: its own value if it logged the key,
    |- candidate      FINISHED      else the best one of those nested in it,
    |  `- fold        FINISHED      in which the value nearest to the search counts: a candidate's hides its folds'
    `- candidate      FAILED        what failed is no candidate of what finished
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from heapq import nlargest
from typing import NamedTuple

from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.values import RunStatus
from mlflow_monitoring_exporter.transform.nesting import Nesting

STATUSES = tuple(RunStatus)
FINISHED = STATUSES.index(RunStatus.FINISHED)
OPEN = frozenset(at for at, status in enumerate(STATUSES) if not status.terminal)
ENDED = frozenset(range(len(STATUSES))) - OPEN
#: The status of a place that no run has: it is free, or is that of a parent which is not here.
NO_RUN = len(STATUSES)

#: Events that are looked at before all are put in order; two of them have a value, nearly always.
_FEW = 8


class Places(NamedTuple):
    """What is known of the run at each place: its status by number, its start and end in ms, its id."""

    status: Sequence[int]
    start: Sequence[int]
    end: Sequence[int]
    run_ids: Sequence[str]
    nesting: Nesting


class SearchEvents:
    """The events of one key: ``values`` of the runs at ``places``, which are sorted."""

    def __init__(
        self, runs: Places, places: Sequence[int], values: Sequence[float], direction: Direction | None
    ) -> None:
        self._runs = runs
        self._places = places
        self._values = values
        self._direction = direction
        self._root: array[int] = runs.nesting.roots()

    def finished(self) -> Iterator[float]:
        """The values of events that finished, the last first.

        One whose root is not here has finished when none of its runs with the key is open, and one finished. An event
        of several values of which none is known to be the best has none.
        """
        ended = [(end, self._runs.run_ids[root], root) for root in self._roots if (end := self._end(root)) is not None]
        first = nlargest(_FEW, ended)
        for event in first:
            if (value := self._value(event[2], finished=True)) is not None:
                yield value
        for event in sorted(ended, reverse=True)[len(first) :]:
            if (value := self._value(event[2], finished=True)) is not None:
                yield value

    def newest(self) -> float:
        """The value of the event that started last; where none is known to be the best, of its newest run."""
        _, _, root = max((self._start(root), self._runs.run_ids[root], root) for root in self._roots)
        value = self._value(root, finished=False)
        if value is not None:
            return value
        started = [
            (self._runs.start[self._places[at]], self._runs.run_ids[self._places[at]], at) for at in self._of(root)
        ]
        return self._values[max(started)[2]]

    @cached_property
    def _roots(self) -> set[int]:
        return set(map(self._root.__getitem__, self._places))

    @cached_property
    def _nested(self) -> dict[int, list[int]]:
        """Where, in ``places``, the runs are that are nested in each root."""
        found: dict[int, list[int]] = {}
        for at, place in enumerate(self._places):
            if (root := self._root[place]) != place:
                found.setdefault(root, []).append(at)
        return found

    def _end(self, root: int) -> int | None:
        """None for an event that has not finished."""
        if self._runs.status[root] != NO_RUN:
            return self._runs.end[root] if self._runs.status[root] == FINISHED else None
        nested = [self._places[at] for at in self._nested[root]]
        statuses = {self._runs.status[place] for place in nested}
        return max(self._runs.end[place] for place in nested) if FINISHED in statuses and statuses <= ENDED else None

    def _start(self, root: int) -> int:
        if self._runs.status[root] != NO_RUN:
            return self._runs.start[root]
        return max(self._runs.start[self._places[at]] for at in self._nested[root])

    def _value(self, root: int, *, finished: bool) -> float | None:
        own = self._at(root)
        if own is not None:
            return self._values[own]
        values = [self._values[at] for at in self._of(root, finished=finished)]
        if len(values) == 1:
            return values[0]
        finite = list(filter(math.isfinite, values))
        if self._direction is None or not finite:
            return None
        return max(finite) if self._direction is Direction.MAX else min(finite)

    def _of(self, root: int, *, finished: bool = False) -> list[int]:
        """Where the values of a root are that has none of its own."""
        return [at for at in self._nested[root] if self._counts(self._places[at], root, finished=finished)]

    def _counts(self, place: int, root: int, *, finished: bool) -> bool:
        if finished and self._runs.status[place] != FINISHED:
            return False
        for above in self._runs.nesting.above(place):
            if above != root and finished and self._runs.status[above] != FINISHED:
                return False
            if self._at(above) is not None:
                return False
        return True

    def _at(self, place: int) -> int | None:
        at = bisect_left(self._places, place)
        return at if at < len(self._places) and self._places[at] == place else None
