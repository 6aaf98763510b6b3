"""What MLflow holds, as far as it was read: every run, and the latest point of each of its series.

``record`` moves a series to its new latest point and makes it pending in the same transaction, so
a kill before its history was queued costs nothing: the next poll reads it again (state/backlog.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select, update

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import OPEN_STATUSES
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.run_changes import CHANGING, KNOWN, Selected, run_changes
from mlflow_monitoring_exporter.state.schema import experiment, run, series, server
from mlflow_monitoring_exporter.state.series_changes import QueuedAtOnce, SeriesOfRun, known_series, record_series
from mlflow_monitoring_exporter.state.statements import BINDS, insert


class Mirror:
    """The mirror of one tracking server. ``clock`` gives the time in Unix seconds."""

    def __init__(self, database: Database, identity: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.identity = identity
        with database.write() as tx:
            tx.execute(insert(tx, server).values(identity=identity).on_conflict_do_nothing())
            self.server: int = tx.execute(select(server.c.id).where(server.c.identity == identity)).scalar_one()

    def known(self, tx: Connection, run_ids: Sequence[str]) -> set[str]:
        """Those of these runs that were read before."""
        query = select(run.c.run_id).where(self._mine, run.c.run_id.in_(run_ids))
        return set(tx.execute(query).scalars())

    def record(
        self,
        tx: Connection,
        page: Sequence[Selected],
        met_in: int,
        *,
        count: bool,
        at_once: QueuedAtOnce | None = None,
    ) -> list[str]:
        """Take over some runs, met in the load or sweep ``met_in``; those of which anything changed.

        Only what changed is written; with ``count`` every run is noted as met, too. What is queued ``at_once`` does not
        become pending.
        """
        read_ms = round(self._clock() * 1000)
        known = self._known_runs(tx, [item.run.run_id for item in page])
        series_before = known_series(tx, [row.id for row in known.values()])
        changes = run_changes(page, known, series_before, read_ms)
        pks = {run_id: row.id for run_id, row in known.items()} | self._insert(tx, changes.fresh, met_in)
        _update(tx, changes.changed, met_in)
        if count:
            for some in batches(changes.unchanged, BINDS):
                tx.execute(update(run).where(run.c.id.in_(some), run.c.round < met_in).values(round=met_in))
        experiments = self._experiments(tx, {item.run.experiment_id for item in page})
        queued: Mapping[str, Collection[str]] = {} if at_once is None else at_once.keys
        series_now = [
            SeriesOfRun(
                *(pks[i.run.run_id], experiments[i.run.experiment_id], i.latest, i.run.run_id),
                queued=queued.get(i.run.run_id, ()),
            )
            for i in page
        ]
        moved = record_series(tx, series_now, series_before, at_once)
        differ = {row["run_id"] for row in (*changes.fresh, *changes.changed)}
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
        old: dict[str, str] = {row.run_id: row.registry_stage for row in tx.execute(query)}
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
            return {row.run_id: row.registry_stage for row in tx.execute(query)}

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
        query = select(*KNOWN).where(self._mine, run.c.run_id.in_(run_ids))
        return {row.run_id: row for row in tx.execute(query)}

    def _insert(self, tx: Connection, rows: Sequence[Mapping[str, object]], met_in: int) -> dict[str, int]:
        """New runs; the ids of their rows, by run id."""
        if not rows:
            return {}
        rows = [{**row, "server": self.server, "round": met_in, "recheck": False} for row in rows]
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


def _update(tx: Connection, rows: Sequence[Mapping[str, object]], met_in: int) -> None:
    """Runs that are not what they were: rows of :class:`RunChanges`."""
    if not rows:
        return
    values: dict[Any, Any] = {column: bindparam(column.name) for column in (run.c.run_id, run.c.gap_ms, *CHANGING)}
    again = {run.c.round: _newer(bindparam("met")), run.c.recheck: run.c.recheck | bindparam("ended")}
    statement = update(run).where(run.c.id == bindparam("pk")).values({**values, **again})
    tx.execute(statement, [{**row, "met": met_in} for row in rows])


def _newer(met_in: ColumnElement[int]) -> ColumnElement[int]:
    """A sweep may meet what a load, which began after it, has met already."""
    return case((run.c.round < met_in, met_in), else_=run.c.round)


of_run = (experiment.c.server == run.c.server) & (experiment.c.experiment_id == run.c.experiment_id)
