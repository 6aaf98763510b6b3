"""Which exporters have queues here, and which bit of the masks is whose.

::

    a new name --> a queue, for ever, and a slot: a bit of the masks in series and seen
                        |
                        +-- all slots taken: the slot of one that is not configured any more, of those without
                            anything queued if possible, of them the one that was configured longest ago.
                            Its marks are cleared; its queue, its dead letters and its account stay

So no more than SLOTS exporters may be configured at a time, and any number in the life of a state. One that comes
back after it lost its slot begins as a new one does: MLflow's points are sent to it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, func, select, text, update

from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem, StateError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.payload_queue import new_queue
from mlflow_monitoring_exporter.state.queue_id import SLOTS, QueueId
from mlflow_monitoring_exporter.state.schema import (
    SCHEMA_VERSION,
    configured,
    exporter,
    first_load,
    replica,
    seen,
    series,
)
from mlflow_monitoring_exporter.state.statements import alone, now_of

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """An exporter as the state has it; ``configured_ms`` is 0 where it is not known."""

    number: int
    name: str
    slot: int | None
    selection: str
    configured_ms: int
    queued: int


class _NoRoomError(Exception):
    """So many exporters are configured at a time."""

    def __init__(self, count: int) -> None:
        self.count = count


class Registration:
    """The exporters of one state, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, names: Iterable[str], *, since_ms: int | None, selections: Mapping[str, str]
    ) -> Mapping[str, QueueId]:
        """The queue of each exporter of this process. A name keeps its queue for ever.

        The first load of one that is new here leaves out points that are older than ``since_ms``. One whose
        ``selections``, anything that tells them apart, are others than before counts as having the whole of no
        series: what it has by then is known by point.

        Raises ConfigError when more than SLOTS exporters are configured at a time, by all replicas together.
        """
        names = tuple(dict.fromkeys(names))
        try:
            with self._database.write() as tx:
                mine = self._register(tx, names, since_ms, selections)
        except _NoRoomError as error:
            reason = (
                f"{error.count} exporters that receive every sample share this state, and it has room for {SLOTS} at "
                "a time: disable some, or give others a daemon and a state.url of their own"
            )
            raise ConfigError([ConfigProblem("", "exporters", reason)]) from None
        return {one.name: QueueId(one.number, one.slot) for one in mine}

    def _register(
        self, tx: Connection, names: Sequence[str], since_ms: int | None, selections: Mapping[str, str]
    ) -> list[_Known]:
        if _is_full(tx, names):
            alone(tx, series)  # before the exporters, as whoever enqueues takes them
        alone(tx, exporter)
        mine = _enter(tx, names)
        kept = {one.number for one in mine} | self._of_others(tx)
        for one in mine:
            selection = selections.get(one.name, "")
            if one.slot is None:
                self._admit(tx, one, kept, since_ms)
            elif one.selection != selection:
                _distrust(tx, one.slot)
            tx.execute(update(exporter).where(exporter.c.id == one.number).values(selection=selection))
        tx.execute(update(exporter).where(exporter.c.id.in_(kept)).values(configured_ms=now_of(tx)))
        self._declare(tx, mine)
        return mine

    def _of_others(self, tx: Connection) -> set[int]:
        """The exporters that other replicas have configured, by number."""
        if self._database.replica is None:
            return set()
        query = select(configured.c.exporter).where(configured.c.replica != self._database.replica)
        return set(tx.execute(query).scalars())

    def _declare(self, tx: Connection, mine: Iterable[_Known]) -> None:
        """Let other replicas know that these are in use, as long as this replica lives."""
        me = self._database.replica
        if me is None:
            return
        tx.execute(configured.delete().where(configured.c.replica == me))
        if rows := [{"replica": me, "exporter": one.number} for one in mine]:
            tx.execute(configured.insert(), rows)

    def _admit(self, tx: Connection, one: _Known, kept: set[int], since_ms: int | None) -> None:
        """Give a slot to one that has none: it begins with nothing."""
        free = set(range(SLOTS)) - {other.slot for other in _known(tx).values()}
        if free:
            # The number, if it can be: a release that knew no slots takes one for the other.
            one.slot = one.number if one.number in free else min(free)
        else:
            one.slot = self._reclaim(tx, kept)
        values = {"slot": one.slot, "since_ms": since_ms}
        tx.execute(update(exporter).where(exporter.c.id == one.number).values(values))

    def _reclaim(self, tx: Connection, kept: set[int]) -> int:
        """Take the slot of one that is not configured."""
        query = select(replica.c.name).where(replica.c.schema < SCHEMA_VERSION)
        if older := ", ".join(tx.execute(query).scalars()):
            raise StateError(
                f"{self._database.where} has no place for one more exporter while replicas of an earlier release are "
                f"at work, which may use any: {older}"
            )
        away = [one for one in _known(tx).values() if one.slot is not None and one.number not in kept]
        oldest = min(away, key=lambda one: (one.queued > 0, one.configured_ms, one.number), default=None)
        if oldest is None or oldest.slot is None:
            raise _NoRoomError(len(kept))
        _clear(tx, oldest, oldest.slot)
        _log.warning("exporter forgotten, as others need its place", exporter=oldest.name, queued=oldest.queued)
        return oldest.slot


def _known(tx: Connection) -> dict[str, _Known]:
    since = func.coalesce(exporter.c.configured_ms, 0)
    columns = (exporter.c.id, exporter.c.name, exporter.c.slot, exporter.c.selection, since, exporter.c.queued)
    return {row.name: _Known(*row) for row in tx.execute(select(*columns))}


def _is_full(tx: Connection, names: Sequence[str]) -> bool:
    """Whether there are fewer free slots than these exporters need."""
    known = _known(tx)
    taken = {one.name for one in known.values() if one.slot is not None}
    return len(taken.union(names)) > SLOTS


def _enter(tx: Connection, names: Sequence[str]) -> list[_Known]:
    """These exporters, in this order; one that was never here gets a queue."""
    known = _known(tx)
    for name in names:
        if name not in known:
            known[name] = _Known(new_queue(tx, name).number, name, None, "", 0, 0)
    return [known[name] for name in names]


def _distrust(tx: Connection, slot: int) -> None:
    """It has the whole of no series any more; what it has by point, it keeps."""
    others = ~(1 << slot)
    cleared = {"mask": series.c.mask.bitwise_and(others), "base": series.c.base.bitwise_and(others)}
    tx.execute(update(series).values({**cleared, "revision": series.c.revision + 1}))


def _clear(tx: Connection, one: _Known, slot: int) -> None:
    """It has nothing of any series any more, and no slot."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SET LOCAL statement_timeout = 0"))  # every mark is looked at
    bit, others = 1 << slot, ~(1 << slot)
    tx.execute(seen.delete().where(seen.c.mask == bit))
    marked = seen.c.mask.bitwise_and(bit) != 0
    tx.execute(update(seen).where(marked).values(mask=seen.c.mask.bitwise_and(others)))
    cleared = {"mask": series.c.mask.bitwise_and(others), "base": series.c.base.bitwise_and(others)}
    touched = series.c.mask.bitwise_or(series.c.base).bitwise_and(bit) != 0
    tx.execute(update(series).where(touched).values(cleared))
    tx.execute(first_load.delete().where(first_load.c.exporter == one.number))
    tx.execute(update(exporter).where(exporter.c.id == one.number).values(slot=None, since_ms=None, selection=""))
