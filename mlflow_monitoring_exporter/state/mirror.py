"""What MLflow holds, as far as it was read: every run, and the latest point of each of its series.

``record`` moves a series to its new latest point and makes it pending in the same transaction, so
a kill before its history was queued costs nothing: the next poll reads it again (state/pending.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select, update
from sqlalchemy.dialects.sqlite import insert

from mlflow_monitoring_exporter.model import OPEN_STATUSES, Point, Run, RunGauges
from mlflow_monitoring_exporter.state.bulk import execute_many
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import experiment, run, series, server
from mlflow_monitoring_exporter.state.tails import UNREAD, tail_from

#: Values in one IN clause; SQLite binds at most 32,766 variables in one statement.
BINDS = 10_000
#: Runs whose values are read together.
_RUNS = 500

_CHANGING = (
    *(run.c.experiment_id, run.c.name, run.c.status, run.c.start_ms, run.c.end_ms, run.c.parent_run_id),
    *(run.c.tags, run.c.tagged_stage, run.c.registry_stage, run.c.present),
)


@dataclass(frozen=True, slots=True)
class Selected:
    """A run as it is exported: only selected metrics and tags; its stage by its tags and by the registry."""

    run: Run
    tags: Mapping[str, str]
    tagged_stage: str
    registry_stage: str
    latest: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A series as the mirror has it."""

    pk: int
    step: int
    timestamp_ms: int
    value: float | None
    shown: bool


def stored(value: float) -> float | None:
    """SQLite cannot store NaN."""
    return None if math.isnan(value) else value


def loaded(value: float | None) -> float:
    """What :func:`stored` stored."""
    return math.nan if value is None else value


class Mirror:
    """The mirror of one tracking server."""

    def __init__(self, database: Database, identity: str) -> None:
        self._database = database
        self.identity = identity
        with database.write() as tx:
            tx.execute(insert(server).values(identity=identity).on_conflict_do_nothing())
            self.server: int = tx.execute(select(server.c.id).where(server.c.identity == identity)).scalar_one()

    def record(self, tx: Connection, page: Sequence[Selected], met_in: int, *, count: bool) -> int:
        """Take over some runs, met in the load or sweep ``met_in``; how many things changed.

        Only what changed is written; with ``count`` every run is noted as met, too.
        """
        known = self._known_runs(tx, [item.run.run_id for item in page])
        fresh: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        unchanged: list[int] = []
        for item in page:
            row = self._row(item)
            old = known.get(item.run.run_id)
            if old is None:
                fresh.append({**row, "server": self.server, "round": met_in, "recheck": False})
            elif tuple(row[column.name] for column in _CHANGING) != tuple(old)[2:]:
                ended = old.status in OPEN_STATUSES and item.run.status.terminal
                changed.append({**row, "pk": old.id, "met": met_in, "ended": ended})
            else:
                unchanged.append(old.id)
        pks = {run_id: row.id for run_id, row in known.items()} | self._insert(tx, fresh)
        if changed:
            values: dict[Any, Any] = {column: bindparam(column.name) for column in (run.c.run_id, *_CHANGING)}
            again = run.c.recheck | bindparam("ended")
            tx.execute(
                update(run)
                .where(run.c.id == bindparam("pk"))
                .values({**values, run.c.round: _newer(bindparam("met")), run.c.recheck: again}),
                changed,
            )
        if unchanged and count:
            for start in range(0, len(unchanged), BINDS):
                some = run.c.id.in_(unchanged[start : start + BINDS])
                tx.execute(update(run).where(some, run.c.round < met_in).values(round=met_in))
        moved = self._record_series(tx, page, pks, [row.id for row in known.values()])
        return len(fresh) + len(changed) + moved

    def hide(self, tx: Connection, run_ids: Sequence[str]) -> int:
        """These runs are no longer there; how many of them were until now."""
        count = 0
        for start in range(0, len(run_ids), BINDS):
            some = run.c.run_id.in_(run_ids[start : start + BINDS])
            count += tx.execute(update(run).where(self._mine, run.c.present, some).values(present=False)).rowcount
        return count

    def settle(self, tx: Connection, experiment_ids: Sequence[str], met_in: int) -> int:
        """Hide the runs of these experiments that were not met since ``met_in`` began; how many."""
        count = 0
        for start in range(0, len(experiment_ids), BINDS):
            some = run.c.experiment_id.in_(experiment_ids[start : start + BINDS])
            unmet = update(run).where(self._mine, run.c.present, some, run.c.round < met_in)
            count += tx.execute(unmet.values(present=False)).rowcount
        return count

    def restage(self, tx: Connection, stages: Mapping[str, str]) -> int:
        """The registry says this of runs, and nothing of any other; how many runs that changes."""
        query = select(run.c.run_id, run.c.registry_stage).where(self._mine, run.c.registry_stage != "")
        old: dict[str, str] = {run_id: stage for run_id, stage in tx.execute(query)}  # noqa: C416 - dict(result) is not typed
        new = dict.fromkeys(old, "") | dict(stages)
        changes = [{"who": run_id, "stage": stage} for run_id, stage in new.items() if old.get(run_id) != stage]
        if not changes:
            return 0
        statement = update(run).where(self._mine, run.c.run_id == bindparam("who"))
        return tx.execute(statement.values(registry_stage=bindparam("stage")), changes).rowcount

    def open_runs(self, experiment_ids: Collection[str]) -> list[str]:
        """The runs of these experiments that had not ended when they were last read."""
        query = select(run.c.run_id, run.c.experiment_id).where(
            self._mine, run.c.status.in_(OPEN_STATUSES), run.c.present
        )
        with self._database.read() as tx:
            return [run_id for run_id, experiment_id in tx.execute(query) if experiment_id in experiment_ids]

    def counts(self) -> tuple[int, int]:
        """How many runs are there, and how many series have a value."""
        query = select(func.count()).select_from(run.join(experiment, of_run)).where(self._mine, run.c.present)
        with_series = run.join(experiment, of_run).join(series, series.c.run == run.c.id)
        with self._database.read() as tx:
            runs: int = tx.execute(query.where(experiment.c.watched)).scalar_one()
            values = select(func.count()).select_from(with_series).where(self._mine, run.c.present, series.c.shown)
            return runs, tx.execute(values.where(experiment.c.watched)).scalar_one()

    def runs(self, *, limit: int | None = None) -> Iterator[RunGauges]:
        """The runs that are there and have a value, with their latest values: open ones first, then the newest.

        At most ``limit`` values; of the run that reaches it the last keys are left out. What is not
        asked for costs nothing.
        """
        columns = (
            *(run.c.id, run.c.experiment_id, run.c.run_id, run.c.parent_run_id),
            *(run.c.registry_stage, run.c.tagged_stage),
        )
        is_open = run.c.status.in_(OPEN_STATUSES)
        left = math.inf if limit is None else limit
        with self._database.read() as tx:
            watched = select(experiment.c.experiment_id, experiment.c.name)
            mine = (experiment.c.server == self.server, experiment.c.watched)
            names: dict[str, str] = {i: name for i, name in tx.execute(watched.where(*mine))}  # noqa: C416 - untyped
            for kind in (is_open, ~is_open):
                query = select(*columns).where(self._mine, run.c.present, kind)
                newest = tx.execute(query.order_by(run.c.start_ms.desc(), run.c.id.desc()))
                for rows in newest.yield_per(_RUNS).partitions():
                    there = [row for row in rows if row.experiment_id in names]
                    values = _values(tx, [row.id for row in there])
                    for row in there:
                        if not (found := values.get(row.id)):
                            continue
                        if len(found) > left:
                            found = {key: found[key] for key in sorted(found)[: int(left)]}
                        left -= len(found)
                        stage = row.registry_stage or row.tagged_stage
                        name = names[row.experiment_id]
                        yield RunGauges(row.experiment_id, name, row.run_id, stage, found, row.parent_run_id)
                        if left <= 0:
                            return

    @property
    def _mine(self) -> ColumnElement[bool]:
        return run.c.server == self.server

    def _row(self, item: Selected) -> dict[str, object]:
        return {
            "run_id": item.run.run_id,
            "experiment_id": item.run.experiment_id,
            "name": item.run.name,
            "status": item.run.status.value,
            "start_ms": item.run.start_ms,
            "end_ms": item.run.end_ms,
            "parent_run_id": item.run.parent_run_id,
            "tags": orjson.dumps(dict(item.tags), option=orjson.OPT_SORT_KEYS).decode(),
            "tagged_stage": item.tagged_stage,
            "registry_stage": item.registry_stage,
            "present": True,
        }

    def _known_runs(self, tx: Connection, run_ids: Sequence[str]) -> dict[str, Any]:
        query = select(run.c.id, run.c.run_id, *_CHANGING).where(self._mine, run.c.run_id.in_(run_ids))
        return {row.run_id: row for row in tx.execute(query)}

    @staticmethod
    def _insert(tx: Connection, rows: Sequence[Mapping[str, object]]) -> dict[str, int]:
        if not rows:
            return {}
        return {row.run_id: row.id for row in tx.execute(run.insert().returning(run.c.run_id, run.c.id), rows)}

    @staticmethod
    def _record_series(
        tx: Connection, page: Sequence[Selected], pks: Mapping[str, int], known_pks: Sequence[int]
    ) -> int:
        """The number of series that are new, moved, or no longer selected."""
        known = _known_series(tx, known_pks)
        fresh: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        restarted: list[dict[str, Any]] = []
        hidden: list[dict[str, Any]] = []
        for selected in page:
            run_pk = pks[selected.run.run_id]
            old = known.pop(run_pk, {})
            for point in selected.latest:
                row = old.pop(point.key, None)
                value = stored(point.value)
                values = {"step": point.step, "timestamp_ms": point.timestamp_ms, "value": value}
                if row is None:
                    fresh.append({**values, **UNREAD, "shown": True, "run": run_pk, "key": point.key})
                elif row != _Known(row.pk, point.step, point.timestamp_ms, value, shown=True):
                    forward = point.step >= row.step
                    (moved if forward else restarted).append({**values, "pk": row.pk, "from": row.step})
            hidden += [{"pk": row.pk} for row in old.values() if row.shown]
        execute_many(tx, series.insert(), fresh)
        this = update(series).where(series.c.id == bindparam("pk"))
        latest: dict[str, Any] = {name: bindparam(name) for name in ("step", "timestamp_ms", "value")}
        execute_many(tx, this.values({**latest, "shown": True, **tail_from(bindparam("from"))}), moved)
        execute_many(tx, this.values({**latest, **UNREAD, "shown": True}), restarted)
        execute_many(tx, this.values(shown=False), hidden)
        return len(fresh) + len(moved) + len(restarted) + len(hidden)


def _newer(met_in: ColumnElement[int]) -> ColumnElement[int]:
    """A sweep may meet what a load, which began after it, has met already."""
    return case((run.c.round < met_in, met_in), else_=run.c.round)


def _values(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, float]]:
    """The latest values of each of these runs, by key."""
    found: dict[int, dict[str, float]] = {}
    query = select(series.c.run, series.c.key, series.c.value).where(series.c.run.in_(run_pks), series.c.shown)
    for pk, key, value in tx.execute(query):
        found.setdefault(pk, {})[key] = loaded(value)
    return found


of_run = (experiment.c.server == run.c.server) & (experiment.c.experiment_id == run.c.experiment_id)


def _known_series(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, _Known]]:
    known: dict[int, dict[str, _Known]] = {}
    for start in range(0, len(run_pks), BINDS):
        query = select(
            *(series.c.run, series.c.key),
            *(series.c.id, series.c.step, series.c.timestamp_ms, series.c.value, series.c.shown),
        ).where(series.c.run.in_(run_pks[start : start + BINDS]))
        for run_pk, key, *fields in tx.execute(query):
            known.setdefault(run_pk, {})[key] = _Known(*fields)
    return known
