"""The series of runs as they were read: what is new of them becomes pending."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.column_types import stored
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.state.schema import series
from mlflow_monitoring_exporter.state.statements import BINDS, execute_many
from mlflow_monitoring_exporter.state.unread_columns import NEW, UNREAD, tail_from


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """A series as the mirror has it."""

    pk: int
    step: int
    timestamp_ms: int
    value: float | None
    shown: bool

    def is_latest(self, point: Point) -> bool:
        """Whether it had this point already when it was read last."""
        return self.shown and (point.step, point.timestamp_ms) == (self.step, self.timestamp_ms)


@dataclass(frozen=True, slots=True)
class SeriesOfRun:
    """The latest points of one run, by the ids of its row and of its experiment's.

    ``queued`` are the keys of those that are new and whose points are all queued in the same transaction.
    """

    run: int
    experiment: int
    latest: Sequence[Point]
    run_id: str = ""
    queued: Collection[str] = ()


@dataclass(slots=True)
class QueuedAtOnce:
    """Series of new runs whose points are all queued in the transaction that records them.

    ``keys`` are theirs, by run id; they are queued for ``queues``, which are all that there are. ``series`` is filled
    in: the ids of their rows, by run id and key.
    """

    keys: Mapping[str, Collection[str]]
    queues: QueueSet
    series: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Changes:
    """Rows to be written; new ones get ids from ``next_id`` on where that is not None."""

    queued_for: QueueSet = field(default_factory=QueueSet)
    next_id: int | None = None
    fresh: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    restarted: list[dict[str, Any]] = field(default_factory=list)
    hidden: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.fresh) + len(self.moved) + len(self.restarted) + len(self.hidden)

    def add(self, read: SeriesOfRun, known: Mapping[str, KnownSeries]) -> None:
        """What is different about the series of a run."""
        for point in read.latest:
            old = known.get(point.key)
            value = stored(point.value)
            values = {"step": point.step, "timestamp_ms": point.timestamp_ms, "value": value}
            if old is None:
                whose = {"run": read.run, "experiment": read.experiment}
                row = {**values, **NEW, **whose, "shown": True, "key": point.key}
                if self.next_id is not None:
                    row["id"] = self.next_id
                    self.next_id += 1
                if point.key in read.queued:
                    row["mask"], row["pending"] = int(self.queued_for), False
                self.fresh.append(row)
            elif old != KnownSeries(old.pk, point.step, point.timestamp_ms, value, shown=True):
                changes = self.moved if point.step >= old.step else self.restarted
                changes.append({**values, "pk": old.pk, "from": old.step})
        selected = {point.key for point in read.latest}
        self.hidden += [{"pk": old.pk} for key, old in known.items() if old.shown and key not in selected]

    def write(self, tx: Connection) -> None:
        """All of them."""
        execute_many(tx, series.insert(), self.fresh)
        this = update(series).where(series.c.id == bindparam("pk"))
        latest: dict[str, Any] = {name: bindparam(name) for name in ("step", "timestamp_ms", "value")}
        execute_many(tx, this.values({**latest, "shown": True, **tail_from(bindparam("from"))}), self.moved)
        execute_many(tx, this.values({**latest, **UNREAD, "shown": True}), self.restarted)
        execute_many(tx, this.values(shown=False), self.hidden)


def record_series(
    tx: Connection,
    read: Sequence[SeriesOfRun],
    known: Mapping[int, Mapping[str, KnownSeries]],
    at_once: QueuedAtOnce | None = None,
) -> set[int]:
    """Take over the series of some runs; the runs with one that is new, moved, or no longer selected, by row id.

    ``known`` are the series that the mirror has of them, by row id and key. Only a state with one writer may have
    series that are queued ``at_once``: their ids are given here.
    """
    changes = _Changes()
    if at_once is not None:
        newest: int = tx.execute(select(func.coalesce(func.max(series.c.id), 0))).scalar_one()
        changes = _Changes(at_once.queues, newest + 1)
    differ: set[int] = set()
    for one in read:
        before = changes.count
        changes.add(one, known.get(one.run, {}))
        if changes.count > before:
            differ.add(one.run)
    changes.write(tx)
    if at_once is not None:
        queued = {one.run: one for one in read if one.queued}
        at_once.series = {
            (queued[row["run"]].run_id, row["key"]): row["id"] for row in changes.fresh if not row["pending"]
        }
    return differ


def known_series(tx: Connection, run_pks: Sequence[int]) -> dict[int, dict[str, KnownSeries]]:
    """The series of these runs, by row id and key."""
    known: dict[int, dict[str, KnownSeries]] = {}
    for some in batches(run_pks, BINDS):
        query = select(
            *(series.c.run, series.c.key),
            *(series.c.id, series.c.step, series.c.timestamp_ms, series.c.value, series.c.shown),
        ).where(series.c.run.in_(some))
        for run_pk, key, *fields in tx.execute(query):
            known.setdefault(run_pk, {})[key] = KnownSeries(*fields)
    return known
