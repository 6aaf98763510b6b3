"""Points of many series from the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """Series of one run to read: whole, or from a step on. ``points`` is how many are expected."""

    run_id: str
    keys: Sequence[str]
    from_step: int | None
    points: int


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

    def read(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points; neighbours that should fit into one chunk are read in one query."""
        together: list[_RunKeys] = []
        for item in _by_run(wanted):
            size = sum(other.points for other in together) + item.points
            if together and (
                size > self._chunk
                or len(together) == _RUNS
                or (together[0].from_step is None) != (item.from_step is None)
            ):
                yield from self._of_runs(together)
                together = []
            together.append(item)
        if together:
            yield from self._of_runs(together)

    def _of_runs(self, items: Sequence[_RunKeys]) -> Iterator[HistoryChunk]:
        """In one query, if the points fit into one chunk, else run by run."""
        found = self._together(items) if len(items) > 1 else None
        for item in items:
            if found is None:
                keys = item.keys
            else:
                keys = [key for key in item.keys if (item.run_id, key) not in found]
                for key in item.keys:
                    if points := found.get((item.run_id, key)):
                        yield HistoryChunk(item.run_id, key, self._points(points), complete=True)
            for some in batches(keys, _BINDS):
                yield from self._of_run(item.run_id, some, item.from_step)

    def _together(self, items: Sequence[_RunKeys]) -> Mapping[tuple[Any, Any], Sequence[_Row]] | None:
        """The rows of all ``items`` by run and key; None when there are too many for one query or one chunk."""
        keys = sorted({key for item in items for key in item.keys})
        if len(keys) > _BINDS:
            return None
        # The concatenation keeps databases from using their index over keys, which would lead to all runs.
        conditions = [
            metrics.c.run_uuid.in_([item.run_id for item in items]),
            metrics.c.key.concat("").in_(keys),
        ]
        rows = self._rows(conditions, min((i.from_step for i in items if i.from_step is not None), default=None))
        if len(rows) > self._chunk:
            return None
        return {pair: list(group) for pair, group in groupby(rows, key=itemgetter(0, 1))}

    def _of_run(self, run_id: str, keys: Sequence[str], from_step: int | None) -> Iterator[HistoryChunk]:
        if not self._exists(run_id):
            yield from (HistoryChunk(run_id, key, (), complete=True, missing=True) for key in keys)
            return
        left = dict.fromkeys(keys)
        for rows, unfinished in self._chunks(run_id, keys, from_step):
            for key, group in groupby(rows, key=itemgetter(1)):
                if key in left:  # MySQL finds "Loss" where "loss" is asked for
                    complete = key != unfinished
                    yield HistoryChunk(run_id, key, self._points(group), complete)
                    if complete:
                        del left[key]
        yield from (HistoryChunk(run_id, key, (), complete=True) for key in left)

    def _chunks(
        self, run_id: str, keys: Sequence[str], from_step: int | None
    ) -> Iterator[tuple[Sequence[_Row], str | None]]:
        """The rows of a run's series, at most a chunk at a time, and the key whose series goes on in the next one."""
        of_run = [metrics.c.run_uuid == run_id, metrics.c.key.in_(keys)]
        conditions = of_run
        while True:
            rows = self._rows(conditions, from_step)
            # The row beyond the chunk only says whether its series goes on.
            rows, beyond = rows[: self._chunk], rows[self._chunk :]
            yield rows, rows[-1][1] if beyond and beyond[0][1] == rows[-1][1] else None
            if not beyond:
                return
            conditions = [*of_run, self._beyond(rows[-1])]

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
                points = sum(max(1, item.last_step - (first or 0) + 1) for item in group)
                yield _RunKeys(run_id, sorted({item.key for item in group}), first, points)
