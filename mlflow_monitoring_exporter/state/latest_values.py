"""The mirror read back: runs with their latest values, as gauges need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from sys import intern
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, select

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.plausible_times import recalled
from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.state.column_types import loaded
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import run, series
from mlflow_monitoring_exporter.state.statements import BINDS, each_raw_row

#: Runs whose values are read together at most, and how many values these should have together.
_RUNS = 500
_VALUES = 20_000

_COLUMNS = (
    *(run.c.id, run.c.experiment_id, run.c.run_id, run.c.name, run.c.status, run.c.start_ms, run.c.end_ms),
    *(run.c.registry_stage, run.c.tagged_stage, run.c.parent_run_id, run.c.last_ms, run.c.alive_ms, run.c.gap_ms),
    run.c.labels,
)


class LatestValues:
    """The runs of one tracking server, by the number of its row. ``clock`` gives the time in Unix seconds."""

    def __init__(self, database: Database, server: int, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._there = (run.c.server == server, run.c.present)

    def of(self, experiment_ids: Iterable[str]) -> Iterator[RunGauges]:
        """Every run that is there in these experiments."""
        for some in batches(sorted(experiment_ids), BINDS):
            yield from self._runs(run.c.experiment_id.in_(some))

    def named(self, run_ids: Iterable[str]) -> Iterator[RunGauges]:
        """Those of these runs that are there."""
        for some in batches(sorted(run_ids), BINDS):
            yield from self._runs(run.c.run_id.in_(some))

    def _runs(self, which: ColumnElement[bool]) -> Iterator[RunGauges]:
        read_ms = round(self._clock() * 1000)

        def when(stored: int | None) -> int | None:
            return recalled(stored, read_ms)

        with self._database.read() as tx:
            found = tx.execute(select(*_COLUMNS).where(*self._there, which).order_by(run.c.id))
            for row, values in _with_values(tx, found.yield_per(_RUNS)):
                yield RunGauges(
                    *(row.experiment_id, row.run_id, row.name, RunStatus(row.status)),
                    *(when(row.start_ms), when(row.end_ms)),
                    row.registry_stage or row.tagged_stage,
                    values,
                    row.parent_run_id,
                    *(when(row.last_ms), when(row.alive_ms)),
                    row.gap_ms,
                    orjson.loads(row.labels),
                )


def _with_values(tx: Connection, rows: Iterable[Any]) -> Iterator[tuple[Any, dict[str, float]]]:
    """Each row of a run, with its latest values; fewer runs at a time where they have many."""
    left, together = iter(rows), _RUNS // 10
    while some := list(islice(left, together)):
        values = _values(tx, [row.id for row in some])
        count = sum(map(len, values.values()))
        together = max(1, min(_RUNS, _VALUES * len(some) // max(count, 1)))
        for row in some:
            yield row, values.pop(row.id, {})


def _values(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, float]]:
    """The latest values of each of these runs, by key."""
    found: dict[int, dict[str, float]] = {}
    query = select(series.c.run, series.c.key, series.c.value).where(series.c.run.in_(run_pks), series.c.shown)
    for pk, key, value in each_raw_row(tx, query):
        found.setdefault(pk, {})[intern(key)] = loaded(value)  # one text for all runs, where it is read anew for each
    return found
