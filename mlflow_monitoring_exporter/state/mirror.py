"""What was read of MLflow: the latest value of every series, and which points were queued.

One poll::

    begin_poll -> record(page)... -> end_poll      every run has its latest values; runs that were
                                        |          not met are no longer there
                                        v
                              stale(...) -> unseen, enqueue, complete     (one transaction)

``record`` moves a series to its new latest point and clears its mask in the same transaction, so a
kill before its history was queued leaves it stale, and the next poll reads it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from mlflow_monitoring_exporter.model import Experiment, Point, Run, RunContext, RunGauges
from mlflow_monitoring_exporter.state.codec import point_hash
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import experiment, run, seen, series, server

#: SQLite binds at most 32,766 variables in one statement.
_BINDS = 10_000


@dataclass(frozen=True, slots=True)
class Selected:
    """A run as it is exported: only selected metrics and tags, its stage decided."""

    run: Run
    tags: Mapping[str, str]
    model_stage: str
    latest: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """A series of which something may not have been queued yet."""

    series_id: int
    context: RunContext
    latest: Point


@dataclass(frozen=True, slots=True)
class _Known:
    """A series as the mirror has it."""

    pk: int
    step: int
    timestamp_ms: int
    value: float | None
    shown: bool


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else value


def _loaded(value: float | None) -> float:
    return math.nan if value is None else value


class Mirror:
    """The mirror of one tracking server."""

    def __init__(self, database: Database, identity: str) -> None:
        self._database = database
        self.identity = identity
        with database.write() as tx:
            tx.execute(insert(server).values(identity=identity).on_conflict_do_nothing())
            self._server: int = tx.execute(select(server.c.id).where(server.c.identity == identity)).scalar_one()

    def begin_poll(self, *, complete: bool) -> int:
        """The number of a new poll.

        With ``complete`` nothing that was read before is trusted to be all there was, because a
        point that is logged late need not change the latest one: every series becomes stale.
        """
        with self._database.write() as tx:
            if complete:
                mine = select(run.c.id).where(run.c.server == self._server)
                tx.execute(update(series).where(series.c.run.in_(mine)).values(mask=0))
            met = tx.execute(select(func.max(run.c.poll)).where(run.c.server == self._server)).scalar()
            whole: int = tx.execute(self._last_poll).scalar_one()
            return max(met or 0, whole) + 1

    def record(self, page: Sequence[Selected], poll: int) -> None:
        """Take over one page of runs."""
        with self._database.write() as tx:
            ids = self._record_runs(tx, page, poll)
            known = self._known_series(tx, list(ids.values()))
            fresh, moved, hidden = [], [], []
            for selected in page:
                run_pk = ids[selected.run.run_id]
                old = known.pop(run_pk, {})
                for point in selected.latest:
                    row = old.pop(point.key, None)
                    values = {
                        "step": point.step,
                        "timestamp_ms": point.timestamp_ms,
                        "value": _stored(point.value),
                        "mask": 0,
                        "shown": True,
                    }
                    if row is None:
                        fresh.append({**values, "run": run_pk, "key": point.key})
                    elif row != _Known(row.pk, point.step, point.timestamp_ms, values["value"], shown=True):
                        moved.append({**values, "pk": row.pk})
                hidden += [{"pk": row.pk} for row in old.values() if row.shown]
            if fresh:
                tx.execute(series.insert(), fresh)
            if moved:
                tx.execute(update(series).where(series.c.id == bindparam("pk")), moved)
            if hidden:
                tx.execute(update(series).where(series.c.id == bindparam("pk")).values(shown=False), hidden)

    def end_poll(self, poll: int, experiments: Iterable[Experiment]) -> int:
        """Show what this whole poll met, and nothing else; the number of runs that are gone."""
        rows = [
            {"server": self._server, "experiment_id": item.experiment_id, "name": item.name} for item in experiments
        ]
        with self._database.write() as tx:
            gone = select(func.count()).select_from(run).where(self._present, run.c.poll < poll)
            count: int = tx.execute(gone).scalar_one()
            tx.execute(update(server).where(server.c.id == self._server).values(poll=poll))
            tx.execute(experiment.delete().where(experiment.c.server == self._server))
            if rows:
                tx.execute(experiment.insert(), rows)
            return count

    def stale(self, active: int, *, after: int = 0, limit: int = 1000) -> list[Stale]:
        """Series whose history was not queued whole for each of the bits ``active``.

        At most ``limit`` of them, in the order of their ids, which are larger than ``after``.
        """
        query = (
            select(
                series.c.id,
                *(series.c.key, series.c.step, series.c.timestamp_ms, series.c.value),
                *(run.c.experiment_id, experiment.c.name.label("experiment_name")),
                *(run.c.run_id, run.c.name.label("run_name"), run.c.tags),
            )
            .join(run, series.c.run == run.c.id)
            .join(experiment, _of_run)
            .where(self._present, series.c.shown, series.c.id > after, series.c.mask.op("&")(active) != active)
            .order_by(series.c.id)
            .limit(limit)
        )
        with self._database.read() as tx:
            return [
                Stale(
                    row.id,
                    RunContext(
                        self.identity,
                        *(row.experiment_id, row.experiment_name, row.run_id, row.run_name),
                        orjson.loads(row.tags),
                    ),
                    Point(row.key, row.step, row.timestamp_ms, _loaded(row.value)),
                )
                for row in tx.execute(query)
            ]

    @staticmethod
    def unseen(tx: Connection, series_id: int, points: Iterable[Point], bits: Sequence[int]) -> dict[int, list[Point]]:
        """The points that were never queued, per bit; they count as queued from now on."""
        active = sum(1 << bit for bit in bits)
        hashed = {point_hash(point): point for point in points}
        masks: dict[int, int] = {}
        wanted = list(hashed)
        for start in range(0, len(wanted), _BINDS):
            query = select(seen.c.point, seen.c.mask).where(
                seen.c.series == series_id, seen.c.point.in_(wanted[start : start + _BINDS])
            )
            masks.update((point, mask) for point, mask in tx.execute(query))
        fresh: dict[int, list[Point]] = {bit: [] for bit in bits}
        rows = []
        for key, point in hashed.items():
            mask = masks.get(key, 0)
            if mask & active == active:
                continue
            for bit in bits:
                if not mask >> bit & 1:
                    fresh[bit].append(point)
            rows.append({"series": series_id, "point": key, "mask": mask | active})
        if rows:
            statement = insert(seen)
            update_mask = {"mask": statement.excluded.mask}
            tx.execute(statement.on_conflict_do_update(index_elements=["series", "point"], set_=update_mask), rows)
        return fresh

    @staticmethod
    def complete(tx: Connection, stale: Iterable[Stale], active: int) -> None:
        """The whole history of these series is queued, up to the latest point that was recorded."""
        rows = [{"pk": item.series_id} for item in stale]
        if rows:
            marked = series.c.mask.op("|")(active)
            tx.execute(update(series).where(series.c.id == bindparam("pk")).values(mask=marked), rows)

    def experiments(self) -> list[str]:
        """The ids of the experiments of the last whole poll."""
        with self._database.read() as tx:
            query = select(experiment.c.experiment_id).where(experiment.c.server == self._server)
            return list(tx.execute(query).scalars())

    def runs(self) -> Iterator[RunGauges]:
        """Every run of the last whole poll that has a value, with its latest values."""
        query = (
            select(
                run.c.experiment_id, experiment.c.name, run.c.run_id, run.c.model_stage, series.c.key, series.c.value
            )
            .join(experiment, _of_run)
            .join(series, series.c.run == run.c.id)
            .where(self._present, series.c.shown)
            .order_by(run.c.id)
        )
        with self._database.read() as tx:
            current: RunGauges | None = None
            values: dict[str, float] = {}
            for experiment_id, experiment_name, run_id, stage, key, value in tx.execute(query):
                if current is None or current.run_id != run_id:
                    if current is not None:
                        yield current
                    values = {}
                    current = RunGauges(experiment_id, experiment_name, run_id, stage, values)
                values[key] = _loaded(value)
            if current is not None:
                yield current

    @property
    def _last_poll(self) -> Select[int]:
        return select(server.c.poll).where(server.c.id == self._server)

    @property
    def _present(self) -> ColumnElement[bool]:
        # Not "==": a poll that was cut short has met runs too, and given them its number.
        return (run.c.server == self._server) & (run.c.poll >= self._last_poll.scalar_subquery())

    def _record_runs(self, tx: Connection, page: Sequence[Selected], poll: int) -> dict[str, int]:
        rows = [
            {
                "server": self._server,
                "run_id": item.run.run_id,
                "experiment_id": item.run.experiment_id,
                "name": item.run.name,
                "status": item.run.status.value,
                "start_ms": item.run.start_ms,
                "end_ms": item.run.end_ms,
                "tags": orjson.dumps(dict(item.tags), option=orjson.OPT_SORT_KEYS).decode(),
                "model_stage": item.model_stage,
                "poll": poll,
            }
            for item in page
        ]
        if not rows:
            return {}
        statement = insert(run)
        changing = {name: statement.excluded[name] for name in rows[0] if name not in ("server", "run_id")}
        tx.execute(statement.on_conflict_do_update(index_elements=["server", "run_id"], set_=changing), rows)
        query = select(run.c.run_id, run.c.id).where(
            run.c.server == self._server, run.c.run_id.in_([item.run.run_id for item in page])
        )
        return {run_id: pk for run_id, pk in tx.execute(query)}  # noqa: C416 - dict(result) is not typed

    @staticmethod
    def _known_series(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, _Known]]:
        known: dict[int, dict[str, _Known]] = {}
        query = select(
            *(series.c.run, series.c.key),
            *(series.c.id, series.c.step, series.c.timestamp_ms, series.c.value, series.c.shown),
        ).where(series.c.run.in_(run_pks))
        for run_pk, key, *fields in tx.execute(query):
            known.setdefault(run_pk, {})[key] = _Known(*fields)
        return known


_of_run = (experiment.c.server == run.c.server) & (experiment.c.experiment_id == run.c.experiment_id)
