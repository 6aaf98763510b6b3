"""Runs with their latest metrics and tags from the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from mlflow_monitoring_exporter.batches import batches
from mlflow_monitoring_exporter.model import Point, Run
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import RunPage
from mlflow_monitoring_exporter.source.sql.store import Store, raw_rows
from mlflow_monitoring_exporter.source.sql.tables import latest_metrics, runs, tags
from mlflow_monitoring_exporter.source.sql.tables import params as params_table

ACTIVE = "active"
#: Values in one IN clause, far below what a database can bind.
_BINDS = 5000
_PAGE = 1000

_RUN = (
    *(runs.c.run_uuid, runs.c.experiment_id, runs.c.name, runs.c.status),
    *(runs.c.start_time, runs.c.end_time),
)
_LATEST = select(
    *(latest_metrics.c.run_uuid, latest_metrics.c.key, latest_metrics.c.step),
    *(latest_metrics.c.timestamp, latest_metrics.c.value, latest_metrics.c.is_nan),
)
_TAGS = select(tags.c.run_uuid, tags.c.key, tags.c.value)


class SqlRuns:
    """Reads active runs, page by page; each page is consistent in itself."""

    def __init__(self, store: Store, on_skipped: decode.OnSkipped, params: frozenset[str]) -> None:
        self._store = store
        self._params = select(params_table.c.run_uuid, params_table.c.key, params_table.c.value).where(
            params_table.c.key.in_(sorted(params))
        )
        self._wants_params = bool(params)
        self._on_skipped = on_skipped
        # The row number where there is one: in its order neither runs nor their metrics need looking up far apart.
        self._order: ColumnElement[Any] = runs.c.rowid if store.row_numbers else runs.c.run_uuid

    def pages(self, experiment_ids: Sequence[str], *, after: str | None, limit: int) -> Iterator[RunPage]:
        """Every active run of these experiments; a position is ``<first experiment id>:<last row or run>``."""
        first, _, last = (after or "").partition(":")
        numbers = sorted(number for number in _numbers(experiment_ids) if number >= int(first or 0))
        parts = list(batches(numbers, _BINDS))
        for number, ids in enumerate(parts):
            following = f"{parts[number + 1][0]}:" if number + 1 < len(parts) else None
            for page, position in self._pages_after(self._position(last), ids, None, limit):
                yield RunPage(page, following if position is None else f"{ids[0]}:{position}")
            last = ""

    def where(self, experiment_ids: Sequence[str], condition: ColumnElement[bool]) -> Iterator[list[Run]]:
        """The active runs of these experiments that meet ``condition``, in pages."""
        for ids in batches(_numbers(experiment_ids), _BINDS):
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
                select(*_RUN, self._order)
                .where(self._order > after, runs.c.experiment_id.in_(ids), runs.c.lifecycle_stage == ACTIVE)
                .order_by(self._order)
                .limit(limit)
            )
            with self._store.reading() as (connection, _):
                page, found = self._page(connection, query if condition is None else query.where(condition))
            after = found[-1][-1] if len(found) == limit else None
            yield page, after

    def _page(self, connection: Connection, query: Select[Any]) -> tuple[list[Run], Sequence[tuple[Any, ...]]]:
        rows = raw_rows(connection, query)
        run_ids = [row[0] for row in rows]
        # Plain tuples and one pass: these are 28 rows for each run, and most of the work.
        latest: dict[str, list[Point]] = {run_id: [] for run_id in run_ids}
        run_tags: dict[str, dict[str, str]] = {run_id: {} for run_id in run_ids}
        run_params: dict[str, dict[str, str]] = {run_id: {} for run_id in run_ids}
        malformed: dict[str, str] = {}
        if run_ids:
            to_point = decode.stored_point
            for run_id, key, step, timestamp, value, is_nan in raw_rows(connection, _of_runs(_LATEST, run_ids)):
                try:
                    latest[run_id].append(to_point(key, step, timestamp, value, is_nan))
                except decode.MalformedError as error:
                    malformed[run_id] = str(error)
            for run_id, key, value in raw_rows(connection, _of_runs(_TAGS, run_ids)):
                run_tags[run_id][key] = value or ""
            wanted = raw_rows(connection, _of_runs(self._params, run_ids)) if self._wants_params else ()
            for run_id, key, value in wanted:
                run_params[run_id][key] = value
        page: list[Run] = []
        for run_id, experiment_id, name, status, start, end, _ in rows:
            try:
                found = decode.build_run(
                    run_id=run_id,
                    experiment_id=str(experiment_id),
                    name=name,
                    status=status,
                    start=start,
                    end=end,
                    tags=run_tags[run_id],
                    latest=tuple(latest[run_id]),
                    params=run_params[run_id],
                )
            except decode.MalformedError as error:
                malformed[run_id] = str(error)
            if run_id in malformed:
                self._on_skipped(f"run {run_id}", malformed[run_id])
            else:
                page.append(found)
        return page, rows


def _numbers(experiment_ids: Sequence[str]) -> list[int]:
    return [int(i) for i in experiment_ids if i.isascii() and i.isdecimal()]


def _of_runs(query: Select[Any], run_ids: Sequence[str]) -> Select[Any]:
    return query.where(query.selected_columns.run_uuid.in_(run_ids))
