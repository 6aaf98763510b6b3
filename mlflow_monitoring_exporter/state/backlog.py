"""Of which series may something not be queued yet?

::

    next(...) -> the reader's points -> hold, mark_unseen, enqueue, complete     (one transaction)

In a cluster the mirror may move on while a history is read, and a replica that was frozen may read what
another one reads. So a transaction first holds its series, one after the other gets its turn; and a
series of which anything became unread meanwhile is not complete.

A series becomes pending when its latest point moves (state/mirror.py), when a change feed names it
(``touch``), and when it is its turn to be read again as a whole (``recheck``, ``reset``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, func, select, update

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import Point, RunContext
from mlflow_monitoring_exporter.state.column_types import loaded
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirror import Mirror, of_run
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.state.run_contexts import run_contexts
from mlflow_monitoring_exporter.state.schema import experiment, run, series, server
from mlflow_monitoring_exporter.state.statements import BINDS, execute_many
from mlflow_monitoring_exporter.state.unread_columns import UNREAD, tail_from

#: In points, what a series counts as that looks deeper still.
_DEEP = 10**9


class UnqueuedSeries(NamedTuple):
    """A series of which something may not have been queued yet.

    ``from_step`` says from which step on; None means all of it. ``revision`` counts how often the series
    had become unread.
    """

    series_id: int
    context: RunContext
    latest: Point
    from_step: int | None
    revision: int


class Backlog:
    """The series of one tracking server that wait to be read."""

    def __init__(self, database: Database, mirror: Mirror) -> None:
        self._database = database
        self._mirror = mirror
        self._mine = run.c.server == mirror.server
        self._series = series.c.run.in_(select(run.c.id).where(self._mine))

    def expect(self, wanted: QueueSet) -> None:
        """From now on these queues count: what one of them misses becomes pending, nothing else is."""
        missing = _lacks(series.c.mask, wanted)
        with self._database.write() as tx:
            tx.execute(update(series).where(self._series, missing != series.c.pending).values(pending=missing))

    def reset(self, tx: Connection) -> None:
        """Trust nothing that was read before to be all there was: every series is read again, whole."""
        tx.execute(update(series).where(self._series).values(UNREAD))

    def touch(self, tx: Connection, touched: Iterable[tuple[str, str, int]]) -> None:
        """Series ``(run_id, key)`` that have new points, none of them below this step."""
        rows = [{"who": run_id, "what": key, "from": step} for run_id, key, step in touched]
        if not rows:
            return
        one = select(run.c.id).where(self._mine, run.c.run_id == bindparam("who")).scalar_subquery()
        this = update(series).where(series.c.run == one, series.c.key == bindparam("what"))
        tx.execute(this.values(tail_from(bindparam("from"))), rows)

    def recheck(self, tx: Connection, *, runs: int, points: int) -> int:
        """Make all series of some runs pending again, and go on with the next ones next time.

        Runs that ended lately come first. At most ``runs`` runs; fewer, but one at least, when
        their histories look like more than ``points`` points together. How many points they look like.
        """
        watched = (self._mine, run.c.present, experiment.c.watched)
        known = select(run.c.id).join(experiment, of_run).where(*watched).order_by(run.c.id)
        mine = server.c.id == self._mirror.server
        after: int = tx.execute(select(server.c.recheck_after).where(mine)).scalar_one()
        ended = list(tx.execute(known.where(run.c.recheck).limit(runs)).scalars())
        room = runs - len(ended)
        others = list(tx.execute(known.where(run.c.id > after).limit(room)).scalars())
        chosen = _affordable(tx, [*ended, *(pk for pk in others if pk not in ended)], points)
        if chosen:
            pks = list(chosen)
            tx.execute(update(series).where(series.c.run.in_(pks)).values(UNREAD))
            tx.execute(update(run).where(run.c.id.in_(pks)).values(recheck=False))
        passed = [pk for pk in others if pk in chosen]
        if passed or (room and not others):
            after = passed[-1] if passed else 0  # the end: from the start again
            tx.execute(update(server).where(mine).values(recheck_after=after))
        return sum(chosen.values())

    def next(
        self,
        active: QueueSet,
        *,
        after: int = 0,
        until: int | None = None,
        only: Sequence[int] | None = None,
        limit: int = 2000,
        experiment: int | None = None,
    ) -> list[UnqueuedSeries]:
        """Series of which something was not queued for each of the queues ``active``.

        At most ``limit`` of them, in the order of their ids, which are larger than ``after`` and at most ``until``;
        or those ``only``, by id. Those of one ``experiment``, by its number, or of all.
        """
        s = series.c
        query = (
            select(s.id, s.run, s.key, s.step, s.timestamp_ms, s.value, s.mask, s.base, s.from_step, s.revision)
            .where(s.pending, s.shown, _lacks(s.mask, active))
            .order_by(s.id)
            .limit(limit)
        )
        if experiment is not None:
            query = query.where(s.experiment == experiment)
        if until is not None:
            query = query.where(s.id <= until)
        if only is not None:
            query = query.where(s.id.in_(only))
        with self._database.read() as tx:
            # Not joined with their runs: then SQLite would rather sort all series than use the index of pending ones.
            while rows := tx.execute(query.where(s.id > after)).all():
                contexts = run_contexts(tx, self._mirror, {row.run for row in rows})
                if found := [_unqueued(row, contexts[row.run], active) for row in rows if row.run in contexts]:
                    return found
                after = rows[-1].id
        return []

    def experiments(self, active: QueueSet) -> list[int]:
        """The watched experiments, by number, that have a series of which something was not queued for ``active``."""
        s = series.c
        waiting = exists().where(s.experiment == experiment.c.id, s.pending, s.shown, _lacks(s.mask, active))
        mine = experiment.c.server == self._mirror.server
        with self._database.read() as tx:
            return list(tx.execute(select(experiment.c.id).where(mine, experiment.c.watched, waiting)).scalars())

    def count(self, experiment: int | None = None) -> int:
        """How many series are pending, of one experiment or of all."""
        which = self._series if experiment is None else series.c.experiment == experiment
        with self._database.read() as tx:
            query = select(func.count()).select_from(series).where(series.c.pending, which)
            number: int = tx.execute(query).scalar_one()
            return number

    @staticmethod
    def hold(tx: Connection, series_ids: Iterable[int]) -> None:
        """Keep everybody else from queueing points of these series until this transaction ends.

        SQLite lets one write at a time anyway.
        """
        if tx.dialect.name == "sqlite":
            return
        for some in batches(sorted(series_ids), BINDS):
            # In one order everywhere, or two would wait for each other.
            query = select(series.c.id).where(series.c.id.in_(some)).order_by(series.c.id)
            tx.execute(query.with_for_update(key_share=True))

    @staticmethod
    def complete(tx: Connection, read: Iterable[UnqueuedSeries], active: QueueSet, wanted: QueueSet) -> None:
        """All of these series is queued for ``active``; with that, those who are ``wanted`` may have all.

        Not of one that became unread again since it was found pending.
        """
        rows = [{"pk": item.series_id, "then": item.revision} for item in read]
        marked = series.c.mask.bitwise_or(int(active))
        pending = _lacks(marked, wanted)
        same = (series.c.id == bindparam("pk")) & (series.c.revision == bindparam("then"))
        statement = update(series).where(same).values(mask=marked, pending=pending)
        execute_many(tx, statement, rows)


def _lacks(mask: ColumnElement[int], queues: QueueSet) -> ColumnElement[bool]:
    """Whether one of these queues is not in ``mask``."""
    return mask.bitwise_and(int(queues)) != int(queues)


def _unqueued(row: Any, context: RunContext, active: QueueSet) -> UnqueuedSeries:
    latest = Point(row.key, row.step, row.timestamp_ms, loaded(row.value))
    whole = active - QueueSet(row.mask) - QueueSet(row.base)
    return UnqueuedSeries(row.id, context, latest, None if whole else row.from_step, row.revision)


def _affordable(tx: Connection, pks: Sequence[int], points: int) -> dict[int, int]:
    """The first runs that have ``points`` points together, judged by their steps, but one at least; their points."""
    # Steps go up to 2^63 - 1: neither that and one nor the sum of two fits into a database's integer.
    size = func.sum(case((series.c.step > _DEEP, _DEEP), (series.c.step > 0, series.c.step + 1), else_=1))
    query = select(series.c.run, size).where(series.c.run.in_(pks)).group_by(series.c.run)
    sizes: dict[int, int] = {pk: int(count) for pk, count in tx.execute(query)}
    chosen: dict[int, int] = {}
    for pk in pks:
        points -= sizes.get(pk, 0)
        if points < 0 and chosen:
            break
        chosen[pk] = sizes.get(pk, 0)
    return chosen
