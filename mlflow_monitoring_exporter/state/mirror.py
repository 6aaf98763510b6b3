"""What was read of MLflow: the latest value of every series, and which points were queued.

One poll::

    begin_poll -> record(page) -> [Stale series] -> enqueue(points) -> complete(series) -> end_poll
                                                                                            |
                                                       runs that this poll did not meet are gone

``record`` moves a series to its new latest point and clears its mask in the same transaction, so
a kill before its history was queued leaves it stale, and the next poll reads it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from mlflow_monitoring_exporter.model import Experiment, Point, Run, RunContext
from mlflow_monitoring_exporter.state.codec import point_hash
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import experiment, run, seen, series, server


@dataclass(frozen=True, slots=True)
class Selected:
    """A run as it is exported: only selected metrics and tags, its stage decided."""

    run: Run
    experiment_name: str
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
class MirroredRun:
    """A run as the gauges need it."""

    experiment_id: str
    experiment_name: str
    run_id: str
    model_stage: str
    values: Mapping[str, float]


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

    def begin_poll(self) -> int:
        """The number of a new poll."""
        with self._database.read() as tx:
            last = tx.execute(select(func.max(run.c.poll)).where(run.c.server == self._server)).scalar()
        return (last or 0) + 1

    def record(self, page: Sequence[Selected], poll: int, active: int, *, complete: bool) -> list[Stale]:
        """Take over one page of runs; the series whose history must be read for the bits ``active``.

        With ``complete`` every series is named, because a late point does not change the latest one.
        """
        with self._database.write() as tx:
            ids = self._record_runs(tx, page, poll)
            known = self._known_series(tx, ids.values())
            fresh, moved, stale = [], [], []
            for selected in page:
                run_pk = ids[selected.run.run_id]
                old = known.pop(run_pk, {})
                context = self._context(selected)
                for point in selected.latest:
                    values = {
                        "run": run_pk,
                        "key": point.key,
                        "step": point.step,
                        "timestamp_ms": point.timestamp_ms,
                        "value": _stored(point.value),
                        "mask": 0,
                    }
                    row = old.pop(point.key, None)
                    if row is None:
                        fresh.append(values)
                    elif row[1:4] != (point.step, point.timestamp_ms, values["value"]):
                        moved.append({**values, "pk": row[0]})
                    elif not complete and row[4] & active == active:
                        continue
                    if active:
                        stale.append((run_pk, context, point))
                gone = [row[0] for row in old.values()]
                if gone:
                    tx.execute(series.delete().where(series.c.id.in_(gone)))
            if fresh:
                tx.execute(series.insert(), fresh)
            if moved:
                tx.execute(update(series).where(series.c.id == bindparam("pk")), moved)
            keys = self._known_series(tx, {pk for pk, _, _ in stale}) if stale else {}
            return [Stale(keys[pk][point.key][0], context, point) for pk, context, point in stale]

    def unseen(
        self, tx: Connection, series_id: int, points: Iterable[Point], bits: Sequence[int]
    ) -> dict[int, list[Point]]:
        """The points that were never queued, per bit; they count as queued from now on."""
        active = sum(1 << bit for bit in bits)
        hashed = {point_hash(point): point for point in points}
        masks: dict[int, int] = {}
        wanted = list(hashed)
        for start in range(0, len(wanted), 500):
            query = select(seen.c.point, seen.c.mask).where(
                seen.c.series == series_id, seen.c.point.in_(wanted[start : start + 500])
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
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["series", "point"], set_={"mask": statement.excluded.mask}
                ),
                rows,
            )
        return fresh

    @staticmethod
    def complete(tx: Connection, stale: Iterable[Stale], active: int) -> None:
        """The whole history of these series is queued, up to the latest point that was recorded."""
        rows = [{"pk": item.series_id} for item in stale]
        if rows:
            tx.execute(
                update(series).where(series.c.id == bindparam("pk")).values(mask=series.c.mask.op("|")(active)), rows
            )

    def end_poll(self, poll: int, experiments: Iterable[Experiment]) -> int:
        """Forget runs that this whole poll did not meet; how many there were."""
        with self._database.write() as tx:
            tx.execute(experiment.delete().where(experiment.c.server == self._server))
            rows = [
                {"server": self._server, "experiment_id": item.experiment_id, "name": item.name} for item in experiments
            ]
            if rows:
                tx.execute(experiment.insert(), rows)
            gone = tx.execute(run.delete().where(run.c.server == self._server, run.c.poll != poll))
            return gone.rowcount

    def experiments(self) -> list[str]:
        """The ids of the experiments of the last whole poll."""
        with self._database.read() as tx:
            query = select(experiment.c.experiment_id).where(experiment.c.server == self._server)
            return list(tx.execute(query).scalars())

    def runs(self) -> Iterator[MirroredRun]:
        """Every run with its latest values, as of the last poll."""
        query = (
            select(
                run.c.experiment_id,
                experiment.c.name,
                run.c.run_id,
                run.c.model_stage,
                series.c.key,
                series.c.value,
            )
            .join(
                experiment,
                (experiment.c.server == run.c.server) & (experiment.c.experiment_id == run.c.experiment_id),
            )
            .join(series, series.c.run == run.c.id)
            .where(run.c.server == self._server)
            .order_by(run.c.id)
        )
        with self._database.read() as tx:
            current: tuple[str, str, str, str] | None = None
            values: dict[str, float] = {}
            for *head, key, value in tx.execute(query):
                if tuple(head) != current:
                    if current is not None:
                        yield MirroredRun(*current, values)
                    current, values = (head[0], head[1], head[2], head[3]), {}
                values[key] = _loaded(value)
            if current is not None:
                yield MirroredRun(*current, values)

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
    def _known_series(
        tx: Connection, run_pks: Iterable[int]
    ) -> dict[int, dict[str, tuple[int, int, int, float | None, int]]]:
        known: dict[int, dict[str, tuple[int, int, int, float | None, int]]] = {}
        query = select(
            series.c.run, series.c.key, series.c.id, series.c.step, series.c.timestamp_ms, series.c.value, series.c.mask
        ).where(series.c.run.in_(list(run_pks)))
        for run_pk, key, *rest in tx.execute(query):
            known.setdefault(run_pk, {})[key] = (rest[0], rest[1], rest[2], rest[3], rest[4])
        return known

    def _context(self, selected: Selected) -> RunContext:
        source = selected.run
        return RunContext(
            self.identity, source.experiment_id, selected.experiment_name, source.run_id, source.name, selected.tags
        )
