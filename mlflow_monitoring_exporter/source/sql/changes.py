"""Which runs and series changed, asked of the database.

SQLite numbers every row of ``metrics`` in the order of its insertion: what lies behind the last
number is exactly what is new. Numbers are used again once the last rows were deleted (mlflow gc),
and given anew by VACUUM, so the mark remembers the last row's content too, and a mark whose row is
not there any more counts as lost.

PostgreSQL and MySQL have nothing of the kind: their sequences, and PostgreSQL's ``xmin``, are given
out in another order than that in which rows become visible, and neither is indexed in MLflow's
tables. There runs that may have changed are found by their state and times, and the sweep finds
the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Select, case, func, or_, select

from mlflow_monitoring_exporter.core.values import OPEN_STATUSES
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import OnSkipped, exact, identity, integer
from mlflow_monitoring_exporter.source.protocol import Changes, LastPoll
from mlflow_monitoring_exporter.source.sql.runs import ACTIVE, SqlRuns
from mlflow_monitoring_exporter.source.sql.store import Store, raw_rows
from mlflow_monitoring_exporter.source.sql.tables import metrics, runs

#: Rows of the change feed that are looked at together.
_WINDOW = 50_000
#: Whether anything changed is remembered for this many marks; a poll needs the last one.
_MARKS = 4


class SqlChanges:
    """The changes of one store."""

    def __init__(self, store: Store, reader: SqlRuns, on_skipped: OnSkipped) -> None:
        self._store = store
        self._on_skipped = on_skipped
        self._reader = reader
        self._versions: dict[str, object] = {}

    def mark(self) -> str:
        """``<last row of runs>:<last row of metrics>:<digest of that row>:<unique>``; empty without row numbers."""
        if not self._store.row_numbers:
            return ""
        with self._store.reading() as (connection, _):
            last_run = connection.scalar(select(func.max(runs.c.rowid))) or 0
            last_point = connection.scalar(select(func.max(metrics.c.rowid))) or 0
            # Unique, because rows may change without any being added.
            mark = f"{last_run}:{last_point}:{_digest(connection, last_point)}:{uuid4().hex}"
            self._versions[mark] = self._store.version(connection)
            while len(self._versions) > _MARKS:
                del self._versions[next(iter(self._versions))]
            return mark

    def since(self, last: LastPoll) -> Iterator[Changes]:
        """Everything of the last poll's mark, and of its time where a mark does not tell."""
        with self._store.reading() as (connection, _):
            version = self._store.version(connection)
            if version is not None and self._versions.get(last.mark) == version:
                return
        last_run, first, lost = self._position(last.mark)
        ids = [*last.watched, *last.others]
        seen: set[str] = set()
        for page in self._reader.where(ids, _may_have_changed(last, last_run)):
            seen.update(run.run_id for run in page)
            yield Changes(page)
        unseen = [run_id for run_id in last.open_runs if run_id not in seen]
        found = [run for page in self._reader.named(last.watched, unseen) for run in page]
        gone = {*unseen} - {run.run_id for run in found}
        seen.update(run.run_id for run in found)
        yield Changes(found, [*gone, *self._deleted(last)], lost=lost)
        if first is not None:
            yield from self._appended(first, last.watched, seen)

    def _position(self, mark: str) -> tuple[int | None, int | None, bool]:
        """Behind which row of runs and of metrics anything is new, and whether the mark is lost."""
        if not self._store.row_numbers:
            return None, None, False
        parts = mark.split(":")
        if len(parts) != 4:
            return None, None, True
        last_run, last_point = int(parts[0]), int(parts[1])
        with self._store.reading() as (connection, _):
            if _digest(connection, last_point) != parts[2]:
                return None, None, True
        return last_run, last_point, False

    def _appended(self, first: int, watched: Sequence[str], seen: set[str]) -> Iterator[Changes]:
        m = metrics.c
        with self._store.reading() as (connection, _):
            end = connection.scalar(select(func.max(m.rowid))) or 0
        for low in range(first, end, _WINDOW):
            window = (m.rowid > low, m.rowid <= min(end, low + _WINDOW))
            # SQLite keeps anything in any column: what is no step is no place to read from.
            step = func.min(case((func.typeof(m.step) == "integer", m.step)))
            query = select(m.run_uuid, m.key, step).where(*window).group_by(m.run_uuid, m.key)
            with self._store.reading() as (connection, _):
                rows = raw_rows(connection, query)
            touched = list(decode.readable(_touched, rows, "points of a run", self._on_skipped))
            new = sorted({run_id for run_id, *_ in touched} - seen)
            yield from map(Changes, self._reader.named(watched, new))
            seen.update(new)
            yield Changes(touched=touched)

    def _deleted(self, last: LastPoll) -> list[str]:
        lately = runs.c.deleted_time > last.lately_ms
        query: Select[Any] = select(runs.c.run_uuid).where(runs.c.lifecycle_stage != ACTIVE, lately)
        with self._store.reading() as (connection, schema):
            rows = raw_rows(connection, query) if schema.deletion_times else ()
        return list(decode.readable(lambda row: identity(row[0], "run_id"), rows, "a deleted run", self._on_skipped))


def _may_have_changed(last: LastPoll, last_run: int | None) -> ColumnElement[bool]:
    lately = last.lately_ms
    which = [runs.c.status.in_(OPEN_STATUSES), runs.c.end_time > lately, runs.c.start_time > lately]
    if last_run is not None:
        which.append(runs.c.rowid > last_run)
    return or_(*which)


def _touched(row: Sequence[Any]) -> tuple[str, str, int]:
    run_id, key, step = row
    return identity(run_id, "run_id"), exact(key, "their key"), integer(step, "their step")


def _digest(connection: Connection, row: int) -> str:
    """Of one row of metrics; empty when there is none."""
    m = metrics.c
    found = raw_rows(
        connection, select(m.run_uuid, m.key, m.step, m.timestamp, m.value, m.is_nan).where(m.rowid == row)
    )
    return blake2b(repr(found[0]).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest() if found else ""
