"""Answers questions about runs from MLflow's database; what they may be is in source/search.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, null, select

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import MLFLOW_INFINITY, ModelVersion, Run, RunStatus, RunValue
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import shown, stored_number
from mlflow_monitoring_exporter.source.local_files import files_of
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.search import WHOLE, FoundExperiment, Parts, Search
from mlflow_monitoring_exporter.source.search_filter import parse
from mlflow_monitoring_exporter.source.sql.open_store import in_workspace
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from mlflow_monitoring_exporter.source.sql.run_conditions import condition_of, same
from mlflow_monitoring_exporter.source.sql.runs import ACTIVE, RUN_COLUMNS, SqlRuns, numbers
from mlflow_monitoring_exporter.source.sql.store import raw_rows
from mlflow_monitoring_exporter.source.sql.tables import experiment_tags, experiments, latest_metrics, runs

_PAGE = 1000
_STATUSES = frozenset(status.value for status in RunStatus)


class SqlRunReader:
    """A RunReader of a store in SQLite, PostgreSQL or MySQL."""

    def __init__(self, config: MlflowConfig, *, on_skipped: decode.OnSkipped = decode.ignore_skipped) -> None:
        self._source = SqlSource(config, on_skipped=on_skipped)
        self._store = self._source.store
        self._workspace = config.workspace
        self._on_skipped = on_skipped

    @property
    def server(self) -> str:
        return self._source.server

    def experiments(self, *, counted: bool = True) -> Sequence[FoundExperiment]:
        """Sorted by id."""
        e, t = experiments.c, experiment_tags.c
        with self._store.reading() as (connection, schema):
            here = [e.lifecycle_stage == ACTIVE, *in_workspace(self._workspace, experiments, schema, self._store.uri)]
            created: Any = e.creation_time if schema.creation_times else null()
            rows = raw_rows(connection, select(e.experiment_id, e.name, created).where(*here).order_by(e.experiment_id))
            pairs = raw_rows(connection, select(t.experiment_id, t.key, t.value))
            in_numbers = raw_rows(connection, _COUNTED) if counted else None
        tags: dict[Any, dict[str, str]] = {}
        for experiment_id, *pair in pairs:
            what = f"a tag of experiment {experiment_id}"
            good = decode.readable(lambda tag: decode.stored_pair(*tag), [pair], what, self._on_skipped)
            tags.setdefault(experiment_id, {}).update(good)
        counts, last = _by_experiment(in_numbers or ())

        def read(row: tuple[Any, ...]) -> FoundExperiment:
            experiment_id, name, when = row
            return FoundExperiment(
                str(experiment_id),
                decode.text(name, "its name"),
                tags.get(experiment_id, {}),
                _time(when),
                None if in_numbers is None else counts.get(experiment_id, {}),
                last.get(experiment_id),
            )

        return list(decode.readable(read, rows, "an experiment", self._on_skipped))

    def runs(self, search: Search, parts: Parts = WHOLE) -> Iterator[Run]:
        """In the order that is asked for, page by page; each page is consistent in itself."""
        conditions = parse(search.where)
        reader = SqlRuns(self._store, self._on_skipped, parts)
        with self._store.reading() as (connection, schema):
            self._alike(connection)
            found = raw_rows(
                connection, self._ordered(search, connection, [condition_of(c, connection, schema) for c in conditions])
            )
        ids = [row[0] for row in found]
        for some in batches(ids, _PAGE):
            query = select(*RUN_COLUMNS, runs.c.run_uuid).where(runs.c.run_uuid.in_(some))
            with self._store.reading() as (connection, _):
                page = reader.of_rows(connection, raw_rows(connection, query))
            by_id = {run.run_id: run for run in page}
            yield from (by_id[run_id] for run_id in some if run_id in by_id)

    def values(self, search: Search, metric: str) -> Iterator[RunValue]:
        """All of them in one query, which takes some hundred bytes for each run."""
        conditions = parse(search.where)
        r, m = runs.c, latest_metrics.c
        with self._store.reading() as (connection, schema):
            self._alike(connection)
            met = [condition_of(c, connection, schema) for c in conditions]
            joined = runs.outerjoin(latest_metrics, (m.run_uuid == r.run_uuid) & same(m.key, metric, connection))
            query = (
                select(r.run_uuid, r.experiment_id, r.status, r.start_time, r.end_time, m.value, m.is_nan)
                .select_from(joined)
                .where(r.lifecycle_stage == ACTIVE, _among(search.experiment_ids), *met)
            )
            rows = raw_rows(connection, query)
        for run_id, experiment_id, status, start, end, value, is_nan in rows:
            if isinstance(run_id, str) and status in _STATUSES:
                yield RunValue(
                    run_id, str(experiment_id), RunStatus(status), _time(start), _time(end), _value(value, is_nan)
                )
            else:
                self._on_skipped(f"run {shown(run_id)}", "its id or its status is none")

    def keys(self, experiment_ids: Sequence[str]) -> Sequence[str]:
        """Of all runs that were ever logged to."""
        with self._store.reading() as (connection, _):
            rows = raw_rows(connection, select(latest_metrics.c.key).distinct())
        return sorted(row[0] for row in rows if isinstance(row[0], str))

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        return self._source.histories(wanted)

    def artifacts(self, run: Run) -> Sequence[tuple[str, int]] | None:
        """Of a run whose files lie on this machine."""
        with self._store.reading() as (connection, schema):
            if "artifact_uri" not in schema.searched:
                return None
            uri = connection.scalar(select(runs.c.artifact_uri).where(runs.c.run_uuid == run.run_id))
        return files_of(uri) if isinstance(uri, str) else None

    def registry(self) -> Sequence[ModelVersion]:
        return self._source.registry()

    def close(self) -> None:
        self._source.close()

    def _ordered(self, search: Search, connection: Connection, met: Sequence[ColumnElement[bool]]) -> Select[Any]:
        """The ids of the runs, in their order."""
        r, m = runs.c, latest_metrics.c
        query = select(r.run_uuid).where(r.lifecycle_stage == ACTIVE, _among(search.experiment_ids), *met)
        if search.order is not None:
            by = m.value.desc() if search.order.descending else m.value.asc()
            query = (
                query.join(latest_metrics, m.run_uuid == r.run_uuid)
                .where(
                    same(m.key, search.order.metric, connection),
                    m.is_nan.is_(False),
                    m.value < MLFLOW_INFINITY,
                    m.value > -MLFLOW_INFINITY,
                )
                .order_by(by)
            )
        return query.order_by(r.start_time.desc(), r.run_uuid).limit(search.limit)

    def _alike(self, connection: Connection) -> None:
        """MLflow's LIKE tells capitals from small letters; that of SQLite does where it is told to."""
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA case_sensitive_like = true")


_COUNTED = (
    select(
        runs.c.experiment_id,
        runs.c.status,
        func.count(),
        func.max(runs.c.start_time),
        func.max(runs.c.end_time),
    )
    .where(runs.c.lifecycle_stage == ACTIVE)
    .group_by(runs.c.experiment_id, runs.c.status)
)


def _among(experiment_ids: Sequence[str]) -> ColumnElement[bool]:
    """Written into the statement, since there may be more than a database binds."""
    ids: ColumnElement[Any] = bindparam("experiments", numbers(experiment_ids), expanding=True, literal_execute=True)
    return runs.c.experiment_id.in_(ids)


def _by_experiment(
    rows: Sequence[tuple[Any, ...]],
) -> tuple[dict[Any, dict[RunStatus, int]], dict[Any, int]]:
    """How many runs by status, and the newest start or end."""
    counts: dict[Any, dict[RunStatus, int]] = {}
    last: dict[Any, int] = {}
    for experiment_id, status, count, start, end in rows:
        if status in _STATUSES:
            counts.setdefault(experiment_id, {})[RunStatus(status)] = count
            times = [when for when in (start, end) if isinstance(when, int) and when > 0]
            if times:
                last[experiment_id] = max(*times, last.get(experiment_id, 0))
    return counts, last


def _time(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _value(value: Any, is_nan: Any) -> float | None:
    if value is None:
        return None
    try:
        return stored_number(value, is_nan, "its value")
    except decode.MalformedError:
        return math.nan
