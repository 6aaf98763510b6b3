"""Points of many series from the database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.sql.store import Store, raw_rows
from mlflow_monitoring_exporter.source.sql.tables import metrics, runs

#: Values in one IN clause, far below what a database can bind.
_BINDS = 5000
_RUNS = 200


_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _RunKeys:
    """Series of one run to read: whole, or from a step on. ``steps`` is how many steps they have together at most."""

    run_id: str
    keys: Sequence[str]
    from_step: int | None
    steps: int


class SqlHistory:
    """Reads histories in chunks of at most ``chunk`` points."""

    def __init__(self, store: Store, on_skipped: decode.OnSkipped, *, chunk: int) -> None:
        self._store = store
        self._on_skipped = on_skipped
        self._chunk = chunk
        m = metrics.c
        # Orders the points of one step, which MLflow's index leaves open.
        self._ties = (m.rowid,) if store.row_numbers else (m.timestamp, m.value, m.is_nan)
        self._columns = (m.run_uuid, m.key, m.step, m.timestamp, m.value, m.is_nan, *self._ties[:1])
        # The steps of a series say little of how many points it has, once they are sparse: a step may be a batch of
        # training data, and a run of one validation may end at step 90,000. So what was read says what is expected;
        # at first only SQLite, which reads no row beyond a chunk, may be wrong about it without harm.
        self._points_of_a_series = 1.0 if store.row_numbers else math.inf

    def read(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points; neighbours that should fit into one chunk are read in one query."""
        together: list[_RunKeys] = []
        size = 0.0
        for item in _by_run(wanted):
            expected = min(item.steps, len(item.keys) * self._points_of_a_series)
            size += expected
            if together and (
                size > self._chunk
                or len(together) == _RUNS
                or (together[0].from_step is None) != (item.from_step is None)
            ):
                yield from self._of_runs(together)
                together, size = [], expected
            together.append(item)
        if together:
            yield from self._of_runs(together)

    def logged_once(self, run_ids: Sequence[str]) -> Mapping[str, int]:
        """Of runs all of whose metrics have one point, how many these are: a look at an index."""
        m = metrics.c
        once: dict[str, int] = {}
        for some in batches(run_ids, _BINDS):
            query = select(m.run_uuid, func.count()).where(m.run_uuid.in_(some)).group_by(m.run_uuid)
            with self._store.reading() as (connection, _):
                once.update(raw_rows(connection, query.having(func.count() == func.count(m.key.distinct()))))
        return once

    def _of_runs(self, items: Sequence[_RunKeys]) -> Iterator[HistoryChunk]:
        """In one query as far as it reaches: a chunk; and then on, from where it ended."""
        before = len(items) + 1
        while items:
            rows = self._together(items) if 1 < len(items) < before else None
            before = len(items)
            if rows is None:
                for item in items:
                    yield from self._of_run(item)
                return
            # The row beyond the chunk says which run it did not reach the end of.
            cut = rows[self._chunk][0] if len(rows) > self._chunk else None
            found: dict[tuple[Any, Any], list[_Row]] = {}
            for pair, group in groupby(rows, key=itemgetter(0, 1)):
                if pair[0] != cut:
                    found.setdefault(pair, []).extend(group)
            begun = [row for row in rows if row[0] == cut]
            left = []
            for item in items:
                if item.run_id == cut and len(begun) > 1:
                    yield from self._of_run(item, begun)
                elif cut is not None and not any((item.run_id, key) in found for key in item.keys):
                    left.append(item)
                else:
                    yield from self._found(item, found)
            self._heed(len(rows) - len(begun), len(found))
            items = left

    def _found(self, item: _RunKeys, found: Mapping[tuple[Any, Any], Sequence[_Row]]) -> Iterator[HistoryChunk]:
        """The series of a run that was read to its end; those without points by a query of their own."""
        for key in item.keys:
            if points := found.get((item.run_id, key)):
                yield HistoryChunk(item.run_id, key, self._points(points), complete=True)
        if missing := [key for key in item.keys if (item.run_id, key) not in found]:
            yield from self._of_run(replace(item, keys=missing))

    def _heed(self, points: int, series: int) -> None:
        """So many points were found in so many series."""
        if series:
            self._points_of_a_series = points / series

    def _together(self, items: Sequence[_RunKeys]) -> Sequence[_Row] | None:
        """The rows of all ``items`` by run and key, or a chunk and one row of them; None for too many keys."""
        keys = sorted({key for item in items for key in item.keys})
        if len(keys) > _BINDS:
            return None
        # The concatenation keeps databases from using their index over keys, which would lead to all runs.
        conditions = [
            metrics.c.run_uuid.in_([item.run_id for item in items]),
            metrics.c.key.concat("").in_(keys),
        ]
        return self._rows(conditions, min((i.from_step for i in items if i.from_step is not None), default=None))

    def _of_run(self, item: _RunKeys, begun: Sequence[_Row] = ()) -> Iterator[HistoryChunk]:
        """All series of one run, of which the first rows may have been read already: all but the last are used."""
        if not begun and not self._exists(item.run_id):
            yield from (HistoryChunk(item.run_id, key, (), complete=True, missing=True) for key in item.keys)
            return
        left = dict.fromkeys(item.keys)
        count = 0
        for some in batches(item.keys, _BINDS):
            for rows, unfinished in self._chunks(item.run_id, some, item.from_step, begun):
                count += len(rows)
                for key, group in groupby(rows, key=itemgetter(1)):
                    if key in left:  # MySQL finds "Loss" where "loss" is asked for
                        complete = key != unfinished
                        yield HistoryChunk(item.run_id, key, self._points(group), complete)
                        if complete:
                            del left[key]
        yield from (HistoryChunk(item.run_id, key, (), complete=True) for key in left)
        self._heed(count, len(item.keys))

    def _chunks(
        self, run_id: str, keys: Sequence[str], from_step: int | None, begun: Sequence[_Row]
    ) -> Iterator[tuple[Sequence[_Row], str | None]]:
        """The rows of a run's series, at most a chunk at a time, and the key whose series goes on in the next one."""
        of_run = [metrics.c.run_uuid == run_id, metrics.c.key.in_(keys)]
        rows = begun or self._rows(of_run, from_step)
        while True:
            # The row beyond the chunk only says whether its series goes on.
            end = len(rows) - 1 if rows is begun else self._chunk
            rows, beyond = rows[:end], rows[end:]
            yield rows, rows[-1][1] if beyond and beyond[0][1] == rows[-1][1] else None
            if not beyond:
                return
            rows = self._rows([*of_run, self._beyond(rows[-1])], from_step)

    def _exists(self, run_id: str) -> bool:
        with self._store.reading() as (connection, _):
            return bool(connection.scalar(select(func.count()).where(runs.c.run_uuid == run_id)))

    def _rows(self, conditions: Sequence[ColumnElement[bool]], from_step: int | None) -> Sequence[_Row]:
        """One row more than a chunk, in the order of MLflow's index over (run, key, step): nothing needs sorting."""
        m = metrics.c
        query: Select[Any] = select(*self._columns).where(*conditions)
        if from_step is not None:
            query = query.where(m.step >= from_step)
        query = query.order_by(m.run_uuid, m.key, m.step, *self._ties).limit(self._chunk + 1)
        with self._store.reading() as (connection, _):
            return raw_rows(connection, query)

    def _beyond(self, row: Sequence[Any]) -> ColumnElement[bool]:
        m = metrics.c
        _, key, step, timestamp, value, is_nan, tie = row
        if step is None:  # SQLite takes it, and sorts it in front; no comparison with it would be true
            return or_(m.key > key, and_(m.key == key, or_(m.step.is_not(None), self._ties[0] > tie)))
        last = (tie,) if self._store.row_numbers else (timestamp, value, bool(is_nan))
        return tuple_(m.key, m.step, *self._ties) > tuple_(key, step, *last)

    def _points(self, rows: Iterable[Sequence[Any]]) -> Sequence[Point]:
        points: list[Point] = []
        for run_id, key, step, timestamp, value, is_nan, _ in rows:
            try:
                points.append(decode.stored_point(key, step, timestamp, value, is_nan))
            except decode.MalformedError as error:
                self._on_skipped(f"a point of run {run_id}", str(error))
        return points


def _by_run(wanted: Iterable[Wanted]) -> Iterator[_RunKeys]:
    """Neighbours that share a run; whole series apart from those wanted from a step on, which share the smallest."""
    for run_id, items in groupby(wanted, key=lambda item: item.run_id):
        whole: Mapping[bool, list[Wanted]] = {True: [], False: []}
        for item in items:
            whole[item.from_step is None].append(item)
        for group in whole.values():
            if group:
                steps = [item.from_step for item in group if item.from_step is not None]
                first = min(steps, default=None)
                span = sum(max(1, item.last_step - (first or 0) + 1) for item in group)
                yield _RunKeys(run_id, sorted({item.key for item in group}), first, span)
