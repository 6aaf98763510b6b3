"""Runs with their latest metrics and tags from the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import Point, Run
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import identity, is_unicode, shown
from mlflow_monitoring_exporter.source.protocol import RunPage
from mlflow_monitoring_exporter.source.search import Parts
from mlflow_monitoring_exporter.source.sql.store import Store, raw_rows
from mlflow_monitoring_exporter.source.sql.tables import latest_metrics, metrics, runs, tags
from mlflow_monitoring_exporter.source.sql.tables import params as params_table

ACTIVE = "active"
#: Values in one IN clause, far below what a database can bind.
_BINDS = 5000
_PAGE = 1000
#: Metrics of the runs of one page: there may be ten thousand in each of a thousand runs.
_SERIES = 50_000

RUN_COLUMNS = (
    *(runs.c.run_uuid, runs.c.experiment_id, runs.c.name, runs.c.status),
    *(runs.c.start_time, runs.c.end_time),
)
_LATEST = select(
    *(latest_metrics.c.run_uuid, latest_metrics.c.key, latest_metrics.c.step),
    *(latest_metrics.c.timestamp, latest_metrics.c.value, latest_metrics.c.is_nan),
)
_TAGS = select(tags.c.run_uuid, tags.c.key, tags.c.value)
_PARAMS = select(params_table.c.run_uuid, params_table.c.key, params_table.c.value)


class SqlRuns:
    """Reads active runs, page by page; each page is consistent in itself."""

    def __init__(self, store: Store, on_skipped: decode.OnSkipped, parts: Parts) -> None:
        self._store = store
        self._latest = _wanted(_LATEST, parts.metrics)
        self._tags = _wanted(_TAGS, parts.tags)
        self._params = _wanted(_PARAMS, parts.params)
        self._on_skipped = on_skipped
        # The row number where there is one: in its order neither runs nor their metrics need looking up far apart.
        self._order: ColumnElement[Any] = runs.c.rowid if store.row_numbers else runs.c.run_uuid

    def pages(self, experiment_ids: Sequence[str], *, after: str | None, limit: int) -> Iterator[RunPage]:
        """Every active run of these experiments; a position is ``<first experiment id>:<last row or run>``."""
        first, _, last = (after or "").partition(":")
        ids_left = sorted(number for number in numbers(experiment_ids) if number >= int(first or 0))
        parts = list(batches(ids_left, _BINDS))
        for number, ids in enumerate(parts):
            following = f"{parts[number + 1][0]}:" if number + 1 < len(parts) else None
            for page, position in self._pages_after(self._position(last), ids, None, limit):
                yield RunPage(page, following if position is None else f"{ids[0]}:{position}")
            last = ""

    def where(self, experiment_ids: Sequence[str], condition: ColumnElement[bool]) -> Iterator[list[Run]]:
        """The active runs of these experiments that meet ``condition``, in pages."""
        for ids in batches(numbers(experiment_ids), _BINDS):
            for page, _ in self._pages_after(self._position(""), ids, condition, _PAGE):
                if page:
                    yield page

    def named(self, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of these runs that are active in one of these experiments, in pages."""
        for part in batches(run_ids, _PAGE):
            yield from self.where(experiment_ids, runs.c.run_uuid.in_(part))

    def _position(self, text: str) -> Any:
        return int(text or 0) if self._store.row_numbers else text

    def _pages_after(
        self, after: Any, ids: Sequence[int], condition: ColumnElement[bool] | None, limit: int
    ) -> Iterator[tuple[list[Run], Any]]:
        """Pages, each with what to go on behind; None at the end."""
        while after is not None:
            query = (
                select(*RUN_COLUMNS, self._order)
                .where(self._order > after, runs.c.experiment_id.in_(ids), runs.c.lifecycle_stage == ACTIVE)
                .order_by(self._order)
                .limit(limit)
            )
            with self._store.reading() as (connection, _):
                found = raw_rows(connection, query if condition is None else query.where(condition))
                rows = self._affordable(connection, found)
                page = self.of_rows(connection, rows)
            after = rows[-1][-1] if len(rows) < len(found) or len(found) == limit else None
            yield page, after

    def _affordable(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """The first of these rows of runs that have _SERIES metrics together, but one at least."""
        if self._latest is None or len(rows) < 2:
            return rows
        which = [row[0] for row in rows if isinstance(row[0], str) and is_unicode(row[0])]
        counted = select(latest_metrics.c.run_uuid, func.count()).where(latest_metrics.c.run_uuid.in_(which))
        sizes = dict(raw_rows(connection, counted.group_by(latest_metrics.c.run_uuid)))
        room = _SERIES
        for at, row in enumerate(rows):
            room -= sizes.get(row[0], 0)
            if room < 0 and at:
                return rows[:at]
        return rows

    def of_rows(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Run]:
        """The runs of these rows, which hold RUN_COLUMNS and one more."""
        run_ids = self._identities(rows)
        # Plain tuples and one pass: these are 28 rows for each run, and most of the work.
        latest: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        if run_ids and self._latest is not None:
            to_point = decode.stored_point
            for run_id, key, step, timestamp, value, is_nan in raw_rows(connection, _of_runs(self._latest, run_ids)):
                try:
                    latest[run_id].append(to_point(key, step, timestamp, value, is_nan))
                except KeyError:  # MySQL finds "A1" where "a1" is asked for
                    self._on_skipped(f"the latest point of run {shown(run_id)}", "there is no such run")
                except decode.MalformedError as error:
                    self._on_skipped(f"the latest point of run {run_id}", str(error))
                    latest[run_id] += self._newest(connection, run_id, key)
        run_tags = self._pairs(connection, self._tags, "tag", run_ids)
        run_params = self._pairs(connection, self._params, "param", run_ids)
        page: list[Run] = []
        for run_id, experiment_id, name, status, start, end, _ in rows:
            if run_id not in latest:
                continue
            try:
                page.append(
                    decode.build_run(
                        run_id=run_id,
                        experiment_id=str(experiment_id),
                        name=name,
                        status=status,
                        start=start,
                        end=end,
                        tags=run_tags.get(run_id, {}),
                        latest=tuple(latest.pop(run_id)),
                        params=run_params.get(run_id, {}),
                        on_skipped=self._on_skipped,
                    )
                )
            except decode.MalformedError as error:
                self._on_skipped(f"run {run_id}", str(error))
        return page

    def _identities(self, rows: Iterable[Sequence[Any]]) -> list[str]:
        """The run ids, of which only good ones can be asked for."""
        return list(decode.readable(lambda row: identity(row[0], "run_id"), rows, "a run", self._on_skipped))

    def _pairs(
        self, connection: Connection, query: Select[Any] | None, kind: str, run_ids: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """The tags or parameters of each run."""
        if query is None or not run_ids:
            return {}
        found: dict[str, dict[str, str]] = {run_id: {} for run_id in run_ids}
        for run_id, key, value in raw_rows(connection, _of_runs(query, run_ids)):
            if run_id not in found:
                self._on_skipped(f"a {kind} of run {shown(run_id)}", "there is no such run")
                continue
            if type(key) is type(value) is str and key.isascii() and value.isascii() and "\0" not in value:
                found[run_id][key] = value  # nearly every row
                continue
            try:
                key, value = decode.stored_pair(key, value)  # noqa: PLW2901 - the same, but good
                found[run_id][key] = value
            except decode.MalformedError as error:
                self._on_skipped(f"a {kind} of run {run_id}", str(error))
        return found

    def _newest(self, connection: Connection, run_id: str, key: Any) -> list[Point]:
        """The latest point of a series by its history, where what MLflow noted as such cannot be read."""
        m = metrics.c
        query = select(m.key, m.step, m.timestamp, m.value, m.is_nan).where(m.run_uuid == run_id, m.key == key)
        query = query.order_by(m.step.desc(), m.timestamp.desc(), m.value.desc()).limit(_PAGE)
        if not isinstance(key, str) or not is_unicode(key):
            return []
        points = []
        for row in raw_rows(connection, query):
            with suppress(decode.MalformedError):  # told of when the history is read
                points.append(decode.stored_point(*row))
        return [max(points)] if points else []


def _wanted(query: Select[Any], keys: frozenset[str] | None) -> Select[Any] | None:
    """``query`` for these keys, or for all; None where none is wanted."""
    if keys is None:
        return query
    return query.where(query.selected_columns.key.in_(sorted(keys))) if keys else None


def numbers(experiment_ids: Sequence[str]) -> list[int]:
    """The ids as a store has them; what is no number is in none."""
    return [int(i) for i in experiment_ids if i.isascii() and i.isdecimal()]


def _of_runs(query: Select[Any], run_ids: Sequence[str]) -> Select[Any]:
    return query.where(query.selected_columns.run_uuid.in_(run_ids))
