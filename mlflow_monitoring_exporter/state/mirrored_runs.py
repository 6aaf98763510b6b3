"""The mirror asked: runs of one tracking server by conditions on their metrics and attributes, best or newest first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, or_, select

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.plausible_times import recalled
from mlflow_monitoring_exporter.core.values import MLFLOW_INFINITY, ModelVersion, Point, Run, RunStatus, RunValue
from mlflow_monitoring_exporter.state.column_types import loaded
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirrored_registry import MirroredRegistry
from mlflow_monitoring_exporter.state.schema import experiment, run, series, server
from mlflow_monitoring_exporter.state.statements import raw_rows

_PAGE = 1000
_ATTRIBUTES: Mapping[str, Any] = {
    "run_id": run.c.run_id,
    "run_name": run.c.name,
    "status": run.c.status,
    "start_time": run.c.start_ms,
    "end_time": run.c.end_ms,
}
_RUN = (
    *(run.c.id, run.c.run_id, run.c.experiment_id, run.c.name, run.c.status, run.c.start_ms, run.c.end_ms),
    *(run.c.tags, run.c.parent_run_id),
)
_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


class Condition(NamedTuple):
    """On the latest value of the metric ``key``, or on an attribute, with the operators of MLflow's search syntax."""

    is_metric: bool
    key: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class MirroredExperiment:
    """A watched experiment; ``hints`` say of its metrics whether more is better. Runs by status, newest activity."""

    experiment_id: str
    name: str
    hints: Mapping[str, bool]
    runs: Mapping[RunStatus, int]
    last_ms: int | None


class MirroredRuns:
    """What the mirror has of one tracking server, by its identity. ``clock`` gives the time in Unix seconds."""

    def __init__(self, database: Database, identity: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        with database.read() as tx:
            found = tx.execute(select(server.c.id).where(server.c.identity == identity)).scalar()
        #: Whether the server was ever read into this state.
        self.known = found is not None
        self._number: int = -1 if found is None else found
        self._there = (run.c.server == self._number, run.c.present)

    def experiments(self) -> list[MirroredExperiment]:
        """Those whose runs are mirrored."""
        mine = (experiment.c.server == self._number, experiment.c.present, experiment.c.watched)
        numbers = (func.count(), func.max(run.c.start_ms), func.max(run.c.end_ms))
        with self._database.read() as tx:
            query = select(experiment.c.experiment_id, experiment.c.name, experiment.c.hints).where(*mine)
            found = tx.execute(query).all()
            by_status = select(run.c.experiment_id, run.c.status, *numbers).where(*self._there)
            counted = tx.execute(by_status.group_by(run.c.experiment_id, run.c.status)).all()
        counts: dict[str, dict[RunStatus, int]] = {}
        last: dict[str, int] = {}
        for experiment_id, status, count, start, end in counted:
            counts.setdefault(experiment_id, {})[RunStatus(status)] = count
            times = [when for stored in (start, end) if (when := self._when(stored)) is not None]
            last[experiment_id] = max([last.get(experiment_id, 0), *times])
        return [
            MirroredExperiment(
                row.experiment_id,
                row.name,
                json.loads(row.hints) if row.hints else {},
                counts.get(row.experiment_id, {}),
                last.get(row.experiment_id) or None,
            )
            for row in found
        ]

    def runs(
        self,
        experiment_ids: Sequence[str],
        conditions: Sequence[Condition],
        *,
        order: tuple[str, bool] | None = None,
        limit: int | None = None,
    ) -> Iterator[Run]:
        """With ``order`` (metric, whether the largest come first) those with a finite value; newest first otherwise.

        Of tags a run has those that samples carry.
        """
        with self._database.read() as tx:
            query = self._matching(tx, experiment_ids, conditions)
            if order is not None:
                by = series.c.value.desc() if order[1] else series.c.value.asc()
                query = query.join(series, series.c.run == run.c.id).where(
                    series.c.key == order[0], series.c.value < MLFLOW_INFINITY, series.c.value > -MLFLOW_INFINITY
                )
                query = query.order_by(by)
            rows = tx.execute(query.order_by(run.c.start_ms.desc(), run.c.run_id).limit(limit)).all()
        for page in batches(rows, _PAGE):
            with self._database.read() as tx:
                latest = _latest(tx, [row.id for row in page])
            for row in page:
                parent = {"mlflow.parentRunId": row.parent_run_id} if row.parent_run_id else {}
                yield Run(
                    *(row.run_id, row.experiment_id, row.name, RunStatus(row.status)),
                    *(self._when(row.start_ms), self._when(row.end_ms)),
                    {**json.loads(row.tags or "{}"), **parent},
                    tuple(latest.get(row.id, ())),
                )

    def values(self, experiment_ids: Sequence[str], conditions: Sequence[Condition], metric: str) -> Iterator[RunValue]:
        """Of each run its latest value of ``metric``."""
        joined = run.outerjoin(series, (series.c.run == run.c.id) & (series.c.key == metric))
        with self._database.read() as tx:
            met = [_condition(tx, condition) for condition in conditions]
            query = select(
                *(run.c.run_id, run.c.experiment_id, run.c.status, run.c.start_ms, run.c.end_ms),
                *(series.c.value, series.c.id),
            ).select_from(joined)
            rows = raw_rows(tx, query.where(*self._there, _among(experiment_ids), *met))
        for run_id, experiment_id, status, start, end, value, there in rows:
            latest = None if there is None else loaded(value)
            yield RunValue(run_id, experiment_id, RunStatus(status), self._when(start), self._when(end), latest)

    def keys(self) -> list[str]:
        """Of all mirrored series."""
        with self._database.read() as tx:
            query = select(series.c.key).join(run, run.c.id == series.c.run).where(*self._there).distinct()
            return sorted(tx.execute(query).scalars())

    def registry(self) -> Sequence[ModelVersion]:
        """What the registry said last."""
        with self._database.read() as tx:
            return MirroredRegistry(self._number).read(tx).versions if self.known else ()

    def _matching(self, tx: Connection, experiment_ids: Sequence[str], conditions: Sequence[Condition]) -> Select[Any]:
        met = [_condition(tx, condition) for condition in conditions]
        return select(*_RUN).where(*self._there, _among(experiment_ids), *met)

    def _when(self, stored: int | None) -> int | None:
        return recalled(stored, round(self._clock() * 1000))


def _among(experiment_ids: Sequence[str]) -> ColumnElement[bool]:
    """Written into the statement, since there may be more than a database binds."""
    return run.c.experiment_id.in_(bindparam("experiments", list(experiment_ids), expanding=True, literal_execute=True))


def _latest(tx: Connection, run_pks: Sequence[int]) -> dict[int, list[Point]]:
    query = select(series.c.run, series.c.key, series.c.step, series.c.timestamp_ms, series.c.value)
    found: dict[int, list[Point]] = {}
    for pk, key, step, when, value in raw_rows(tx, query.where(series.c.run.in_(run_pks))):
        found.setdefault(pk, []).append(Point(key, step, when, loaded(value)))
    return found


def _condition(tx: Connection, condition: Condition) -> ColumnElement[bool]:
    if not condition.is_metric:
        return _compared(tx, _ATTRIBUTES[condition.key], condition)
    of_run = select(series.c.id).where(series.c.run == run.c.id, series.c.key == condition.key)
    met = _compared(tx, series.c.value, condition)
    if condition.operator == "!=":
        met = or_(met, series.c.value.is_(None))  # NaN differs from everything
    return of_run.where(met).correlate(run).exists()


def _compared(tx: Connection, column: Any, condition: Condition) -> ColumnElement[bool]:
    operator, value = condition.operator, condition.value
    match operator:
        case "LIKE" if tx.dialect.name == "sqlite":  # whose LIKE takes capitals for small letters
            return column.op("GLOB", is_comparison=True)(value.translate(_GLOB))  # type: ignore[no-any-return]
        case "LIKE":
            return column.like(value)  # type: ignore[no-any-return]
        case "ILIKE":
            return column.ilike(value)  # type: ignore[no-any-return]
        case "IN":
            return column.in_(value)  # type: ignore[no-any-return]
        case "NOT IN":
            return column.not_in(value)  # type: ignore[no-any-return]
        case _:
            return column.op({"!=": "<>"}.get(operator, operator), is_comparison=True)(value)  # type: ignore[no-any-return]
