"""What MLflow holds, as far as it was read: every run, and the latest point of each of its series.

``record`` moves a series to its new latest point and makes it pending in the same transaction, so
a kill before its history was queued costs nothing: the next poll reads it again (state/backlog.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select, update

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.plausible_times import remembered
from mlflow_monitoring_exporter.core.values import OPEN_STATUSES, Point, Run
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.last_logged import last_logged
from mlflow_monitoring_exporter.state.schema import experiment, run, series, server
from mlflow_monitoring_exporter.state.statements import BINDS, execute_many, insert
from mlflow_monitoring_exporter.state.unread_columns import NEW, UNREAD, tail_from

#: How much of the usual gap between two metrics the newest one makes.
_NEWEST_GAP = 0.3
#: In ms, a century: two odd times may lie further apart than a database's integer reaches.
_LONGEST_GAP = 100 * 365 * 86_400_000

_CHANGING = (
    *(run.c.experiment_id, run.c.name, run.c.status, run.c.start_ms, run.c.end_ms, run.c.parent_run_id),
    *(run.c.tags, run.c.labels, run.c.tagged_stage, run.c.registry_stage, run.c.present),
    *(run.c.last_ms, run.c.alive_ms),
)
#: Where these begin among the columns that are read of a known run.
_FIRST = 3


@dataclass(frozen=True, slots=True)
class Selected:
    """A run as it is exported: only selected metrics and tags; its stage by its tags and by the registry.

    ``labels`` are those that the operator added to its gauges.
    """

    run: Run
    tags: Mapping[str, str]
    tagged_stage: str
    registry_stage: str
    latest: tuple[Point, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    """A series as the mirror has it."""

    pk: int
    step: int
    timestamp_ms: int
    value: float | None
    shown: bool

    def is_latest(self, point: Point) -> bool:
        """Whether it had this point already when it was read last."""
        return self.shown and (point.step, point.timestamp_ms) == (self.step, self.timestamp_ms)


def stored(value: float) -> float | None:
    """SQLite cannot store NaN."""
    return None if math.isnan(value) else value


def loaded(value: float | None) -> float:
    """What :func:`stored` stored."""
    return math.nan if value is None else value


class Mirror:
    """The mirror of one tracking server. ``clock`` gives the time in Unix seconds."""

    def __init__(self, database: Database, identity: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.identity = identity
        with database.write() as tx:
            tx.execute(insert(tx, server).values(identity=identity).on_conflict_do_nothing())
            self.server: int = tx.execute(select(server.c.id).where(server.c.identity == identity)).scalar_one()

    def record(self, tx: Connection, page: Sequence[Selected], met_in: int, *, count: bool) -> list[str]:
        """Take over some runs, met in the load or sweep ``met_in``; those of which anything changed.

        Only what changed is written; with ``count`` every run is noted as met, too.
        """
        read_ms = round(self._clock() * 1000)
        known = self._known_runs(tx, [item.run.run_id for item in page])
        points = _known_series(tx, [row.id for row in known.values()])
        fresh: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        unchanged: list[int] = []
        for item in page:
            old = known.get(item.run.run_id)
            row = _row(item, read_ms, old, {} if old is None else points.get(old.id, {}))
            if old is None:
                fresh.append({**row, "server": self.server, "round": met_in, "recheck": False})
            elif tuple(row[column.name] for column in _CHANGING) != tuple(old)[_FIRST:]:
                ended = old.status in OPEN_STATUSES and item.run.status.terminal
                gap = _gap(old.gap_ms, old.last_ms, row["last_ms"])
                changed.append({**row, "pk": old.id, "met": met_in, "ended": ended, "gap_ms": gap})
            else:
                unchanged.append(old.id)
        pks = {run_id: row.id for run_id, row in known.items()} | self._insert(tx, fresh)
        if changed:
            columns = (run.c.run_id, run.c.gap_ms, *_CHANGING)
            values: dict[Any, Any] = {column: bindparam(column.name) for column in columns}
            again = run.c.recheck | bindparam("ended")
            tx.execute(
                update(run)
                .where(run.c.id == bindparam("pk"))
                .values({**values, run.c.round: _newer(bindparam("met")), run.c.recheck: again}),
                changed,
            )
        if unchanged and count:
            for some in batches(unchanged, BINDS):
                tx.execute(update(run).where(run.c.id.in_(some), run.c.round < met_in).values(round=met_in))
        experiments = self._experiments(tx, {item.run.experiment_id for item in page})
        moved = self._record_series(tx, page, pks, points, experiments)
        differ = {row["run_id"] for row in (*fresh, *changed)}
        return [item.run.run_id for item in page if item.run.run_id in differ or pks[item.run.run_id] in moved]

    def hide(self, tx: Connection, run_ids: Sequence[str]) -> list[str]:
        """These runs are no longer there; those that were until now."""
        return [i for some in batches(run_ids, BINDS) for i in self._hide(tx, run.c.run_id.in_(some))]

    def settle(self, tx: Connection, experiment_ids: Sequence[str], met_in: int) -> list[str]:
        """Hide the runs of these experiments that were not met since ``met_in`` began; which."""
        unmet = run.c.round < met_in
        parts = batches(experiment_ids, BINDS)
        return [i for some in parts for i in self._hide(tx, run.c.experiment_id.in_(some) & unmet)]

    def _hide(self, tx: Connection, which: ColumnElement[bool]) -> Sequence[str]:
        hidden = update(run).where(self._mine, run.c.present, which).values(present=False)
        return tx.execute(hidden.returning(run.c.run_id)).scalars().all()

    def restage(self, tx: Connection, stages: Mapping[str, str]) -> list[str]:
        """The registry says this of runs, and nothing of any other; the runs for which that is new."""
        query = select(run.c.run_id, run.c.registry_stage).where(self._mine, run.c.registry_stage != "")
        old: dict[str, str] = {run_id: stage for run_id, stage in tx.execute(query)}  # noqa: C416 - dict(result) is not typed
        new = dict.fromkeys(old, "") | dict(stages)
        differ = [run_id for run_id, stage in new.items() if old.get(run_id) != stage]
        changes = [{"who": run_id, "stage": new[run_id]} for run_id in self._known_runs(tx, differ)]
        if changes:
            statement = update(run).where(self._mine, run.c.run_id == bindparam("who"))
            tx.execute(statement.values(registry_stage=bindparam("stage")), changes)
        return [change["who"] for change in changes]

    def registry_stages(self) -> dict[str, str]:
        """What the registry said last, by run."""
        query = select(run.c.run_id, run.c.registry_stage).where(self._mine, run.c.registry_stage != "")
        with self._database.read() as tx:
            return {run_id: stage for run_id, stage in tx.execute(query)}  # noqa: C416 - dict(result) is not typed

    def open_runs(self, experiment_ids: Collection[str]) -> list[str]:
        """The runs of these experiments that had not ended when they were last read."""
        query = select(run.c.run_id, run.c.experiment_id).where(
            self._mine, run.c.status.in_(OPEN_STATUSES), run.c.present
        )
        with self._database.read() as tx:
            return [run_id for run_id, experiment_id in tx.execute(query) if experiment_id in experiment_ids]

    def check(self) -> None:
        """Raise StateCorruptError when what is recorded now would be lost, as in a file that was removed."""
        self._database.check()

    def counts(self) -> tuple[int, int]:
        """How many runs are there, and how many series have a value."""
        query = select(func.count()).select_from(run.join(experiment, of_run)).where(self._mine, run.c.present)
        with_series = run.join(experiment, of_run).join(series, series.c.run == run.c.id)
        with self._database.read() as tx:
            runs: int = tx.execute(query.where(experiment.c.watched)).scalar_one()
            values = select(func.count()).select_from(with_series).where(self._mine, run.c.present, series.c.shown)
            return runs, tx.execute(values.where(experiment.c.watched)).scalar_one()

    @property
    def _mine(self) -> ColumnElement[bool]:
        return run.c.server == self.server

    def _known_runs(self, tx: Connection, run_ids: Sequence[str]) -> dict[str, Any]:
        query = select(run.c.id, run.c.run_id, run.c.gap_ms, *_CHANGING).where(self._mine, run.c.run_id.in_(run_ids))
        return {row.run_id: row for row in tx.execute(query)}

    @staticmethod
    def _insert(tx: Connection, rows: Sequence[Mapping[str, object]]) -> dict[str, int]:
        if not rows:
            return {}
        return {row.run_id: row.id for row in tx.execute(run.insert().returning(run.c.run_id, run.c.id), rows)}

    def _experiments(self, tx: Connection, experiment_ids: Collection[str]) -> Mapping[str, int]:
        """The numbers of these experiments; an unknown one gets a new number."""
        mine = experiment.c.server == self.server
        query = select(experiment.c.experiment_id, experiment.c.id).where(mine)
        query = query.where(experiment.c.experiment_id.in_(experiment_ids))
        known = {row.experiment_id: row.id for row in tx.execute(query)}
        blank = {"server": self.server, "name": "", "watched": False, "present": False}
        if new := [{**blank, "experiment_id": i} for i in experiment_ids if i not in known]:
            tx.execute(experiment.insert(), new)
            known = {row.experiment_id: row.id for row in tx.execute(query)}
        return known

    @staticmethod
    def _record_series(
        tx: Connection,
        page: Sequence[Selected],
        pks: Mapping[str, int],
        known: dict[int, dict[str, _Known]],
        experiments: Mapping[str, int],
    ) -> set[int]:
        """The runs with a series that is new, moved, or no longer selected; ``known`` is used up."""
        fresh: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        restarted: list[dict[str, Any]] = []
        hidden: list[dict[str, Any]] = []
        differ: set[int] = set()
        for selected in page:
            run_pk = pks[selected.run.run_id]
            old = known.pop(run_pk, {})
            before = len(fresh) + len(moved) + len(restarted) + len(hidden)
            for point in selected.latest:
                row = old.pop(point.key, None)
                value = stored(point.value)
                values = {"step": point.step, "timestamp_ms": point.timestamp_ms, "value": value}
                if row is None:
                    ours = {"run": run_pk, "experiment": experiments[selected.run.experiment_id]}
                    fresh.append({**values, **NEW, **ours, "shown": True, "key": point.key})
                elif row != _Known(row.pk, point.step, point.timestamp_ms, value, shown=True):
                    forward = point.step >= row.step
                    (moved if forward else restarted).append({**values, "pk": row.pk, "from": row.step})
            hidden += [{"pk": row.pk} for row in old.values() if row.shown]
            if len(fresh) + len(moved) + len(restarted) + len(hidden) > before:
                differ.add(run_pk)
        execute_many(tx, series.insert(), fresh)
        this = update(series).where(series.c.id == bindparam("pk"))
        latest: dict[str, Any] = {name: bindparam(name) for name in ("step", "timestamp_ms", "value")}
        execute_many(tx, this.values({**latest, "shown": True, **tail_from(bindparam("from"))}), moved)
        execute_many(tx, this.values({**latest, **UNREAD, "shown": True}), restarted)
        execute_many(tx, this.values(shown=False), hidden)
        return differ


def _row(item: Selected, read_ms: int, old: Any, known: Mapping[str, _Known]) -> dict[str, Any]:
    """A run as it is stored; ``old`` is its row and ``known`` its series as they were read last, if ever."""
    found = item.run
    same_status = old is not None and old.status == found.status.value

    def is_new(point: Point) -> bool:
        return point.key not in known or not known[point.key].is_latest(point)

    before = (None, None) if old is None else (old.last_ms, old.alive_ms)
    last_ms, alive_ms = last_logged(item.latest, read_ms, before=before, is_new=is_new)
    return {
        "run_id": found.run_id,
        "experiment_id": found.experiment_id,
        "name": found.name,
        "status": found.status.value,
        "start_ms": remembered(found.start_ms, read_ms, None if old is None else old.start_ms),
        "end_ms": remembered(found.end_ms, read_ms, old.end_ms if same_status else None),
        "parent_run_id": found.parent_run_id,
        "tags": orjson.dumps(dict(item.tags), option=orjson.OPT_SORT_KEYS).decode(),
        "labels": orjson.dumps(dict(item.labels), option=orjson.OPT_SORT_KEYS).decode(),
        "last_ms": last_ms,
        "alive_ms": alive_ms,
        "tagged_stage": item.tagged_stage,
        "registry_stage": item.registry_stage,
        "present": True,
    }


def _gap(usual: int | None, before: int | None, now: int | None) -> int | None:
    """The usual time between two metrics, of which the newest gap makes a part."""
    if before is None or now is None or now <= before:
        return usual
    gap = min(now - before, _LONGEST_GAP)
    return gap if usual is None else round(usual + _NEWEST_GAP * (gap - usual))


def _newer(met_in: ColumnElement[int]) -> ColumnElement[int]:
    """A sweep may meet what a load, which began after it, has met already."""
    return case((run.c.round < met_in, met_in), else_=run.c.round)


of_run = (experiment.c.server == run.c.server) & (experiment.c.experiment_id == run.c.experiment_id)


def _known_series(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, _Known]]:
    known: dict[int, dict[str, _Known]] = {}
    for some in batches(run_pks, BINDS):
        query = select(
            *(series.c.run, series.c.key),
            *(series.c.id, series.c.step, series.c.timestamp_ms, series.c.value, series.c.shown),
        ).where(series.c.run.in_(some))
        for run_pk, key, *fields in tx.execute(query):
            known.setdefault(run_pk, {})[key] = _Known(*fields)
    return known
