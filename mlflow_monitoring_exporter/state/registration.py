"""Which exporters have queues here, and since when each wants points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select, update

from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.queue_id import SLOTS, QueueId
from mlflow_monitoring_exporter.state.schema import exporter, meta, series
from mlflow_monitoring_exporter.state.statements import alone


class Registration:
    """The exporters of one state, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, names: Iterable[str], *, since_ms: int | None, selections: Mapping[str, str]
    ) -> Mapping[str, QueueId]:
        """Each exporter's queue; a name keeps its queue for ever.

        The first load of one that is new here leaves out points that are older than ``since_ms``. One whose
        ``selections``, anything that tells them apart, are others than before counts as having the whole of no
        series: what it has by then is known by point.
        """
        names = tuple(names)
        with self._database.write() as tx:
            alone(tx, exporter)
            bits: dict[str, int] = {name: bit for bit, name in tx.execute(select(exporter.c.bit, exporter.c.name))}
            for name in names:
                if name not in bits:
                    bit = len(bits)
                    if bit >= SLOTS:
                        raise StateError(
                            f"the state file knows {bit} exporters by name, which is the most it can hold: "
                            "reuse an old name, or move the file aside to start afresh"
                        )
                    tx.execute(exporter.insert().values(bit=bit, name=name, since_ms=since_ms))
                    bits[name] = bit
            for name in names:
                self._reselect(tx, name, bits[name], selections.get(name, ""))
        return {name: QueueId(bits[name], bits[name]) for name in names}

    @staticmethod
    def _reselect(tx: Connection, name: str, bit: int, selection: str) -> None:
        key = f"selection of {name}"
        known = tx.execute(select(meta.c.value).where(meta.c.key == key)).scalar() or ""
        if known == selection:
            return
        tx.execute(meta.delete().where(meta.c.key == key))
        tx.execute(meta.insert().values(key=key, value=selection))
        others = ~(1 << bit)
        cleared = {"mask": series.c.mask.bitwise_and(others), "base": series.c.base.bitwise_and(others)}
        tx.execute(update(series).values({**cleared, "revision": series.c.revision + 1}))
