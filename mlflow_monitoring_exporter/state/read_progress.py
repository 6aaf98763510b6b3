"""How far the reading of one MLflow has come: the last whole poll, a load in progress, the sweep.

A *load* reads all runs of some experiments in one go; it is continued after a kill. A *sweep* does
the same to all watched experiments in small steps, for ever. Both have a number from one counter,
which runs that they meet carry: once a load or a sweep is over, who was not met is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select, update

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import experiment, server
from mlflow_monitoring_exporter.state.statements import BINDS, insert

#: For how long a load that was cut short is continued, in ms: what it read first ages.
_FRESH_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class KnownExperiment:
    """``watched`` ones are the newest, whose runs are mirrored; ``activity_ms`` is None where unknown.

    ``hints`` are what its tags say of metrics (:func:`core.directions.direction.hints_of`).
    """

    name: str
    watched: bool = False
    activity_ms: int | None = None
    hints: Mapping[str, bool] = field(default_factory=dict)


class Experiments(dict[str, KnownExperiment]):
    """Experiments by id. Nothing may be changed in it once it was asked: there may be ten thousand, in every poll."""

    @cached_property
    def watched(self) -> Mapping[str, str]:
        """The names of those that are watched, by id."""
        return {i: known.name for i, known in self.items() if known.watched}

    @cached_property
    def hints(self) -> Mapping[str, Mapping[str, bool]]:
        """What the tags of the watched ones say of metrics, by id."""
        return {i: known.hints for i, known in self.items() if known.watched and known.hints}

    @cached_property
    def activity(self) -> Mapping[str, int]:
        """Where it is known when something last happened, in ms."""
        return {i: known.activity_ms for i, known in self.items() if known.activity_ms is not None}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the last whole poll stood: when it began, the source's cursor then, and what was selected."""

    since_ms: int | None
    mark: str
    selection: str
    experiments: Experiments


@dataclass(frozen=True, slots=True)
class Pass:
    """A load or a sweep: its number, and behind which position it goes on (None: from the start).

    ``since_ms`` and ``mark`` are those of its begin; a sweep has none.
    """

    number: int
    position: str | None
    since_ms: int = 0
    mark: str = ""


class ReadProgress:
    """How far the reading of one tracking server has come, by the number of its row."""

    def __init__(self, database: Database, number: int) -> None:
        self._database = database
        self._number = number
        self._row = server.c.id == number
        self._mine = experiment.c.server == number
        self._last: Checkpoint | None = None

    def checkpoint(self) -> Checkpoint:
        """Where the last whole poll stood."""
        with self._database.read() as tx:
            row = tx.execute(select(server.c.since_ms, server.c.mark, server.c.selection).where(self._row)).one()
            last = self._last
            # Every poll writes when it began: none has since, in no replica, so the experiments are the same.
            if last is not None and (last.since_ms, last.mark, last.selection) == tuple(row):
                return last
            rows = tx.execute(select(experiment).where(self._mine, experiment.c.present)).all()
        known = Experiments(
            (e.experiment_id, KnownExperiment(e.name, e.watched, e.activity_ms, json.loads(e.hints) if e.hints else {}))
            for e in rows
        )
        self._last = Checkpoint(row.since_ms, row.mark, row.selection, known)
        return self._last

    def advance(self, tx: Connection, old: Checkpoint, new: Checkpoint) -> bool:
        """A poll was whole: ``new`` replaces ``old``; whether any experiment changed by that."""
        self._set(tx, since_ms=new.since_ms, mark=new.mark, selection=new.selection)
        self._last = new
        if old.experiments is new.experiments or old.experiments == new.experiments:
            return False
        rows = [
            {
                "server": self._number,
                "experiment_id": experiment_id,
                "name": known.name,
                "watched": known.watched,
                "activity_ms": known.activity_ms,
                "hints": json.dumps(known.hints) if known.hints else "",
                "present": True,
            }
            for experiment_id, known in new.experiments.items()
            if old.experiments.get(experiment_id) != known
        ]
        if rows:
            statement = insert(tx, experiment)
            renewed = ("name", "watched", "activity_ms", "hints", "present")
            changed = {name: statement.excluded[name] for name in renewed}
            unique = ["server", "experiment_id"]
            tx.execute(statement.on_conflict_do_update(index_elements=unique, set_=changed), rows)
        for some in batches(sorted(old.experiments.keys() - new.experiments.keys()), BINDS):
            gone = update(experiment).where(self._mine, experiment.c.experiment_id.in_(some))
            tx.execute(gone.values(present=False, watched=False))
        before, now = old.experiments, new.experiments
        return (before.watched, before.hints) != (now.watched, now.hints)

    def load(self, tx: Connection, key: str, *, since_ms: int, mark: str) -> tuple[Pass, bool]:
        """The load ``key``, and whether it is a new one: one that was cut short lately is continued."""
        row = tx.execute(select(server).where(self._row)).one()
        if row.load_round is not None and row.load_key == key and 0 <= since_ms - row.load_since_ms < _FRESH_MS:
            return Pass(row.load_round, row.load_position, row.load_since_ms, row.load_mark), False
        number = row.round + 1
        self._set(
            tx,
            round=number,
            load_round=number,
            load_key=key,
            load_position=None,
            load_since_ms=since_ms,
            load_mark=mark,
        )
        return Pass(number, None, since_ms, mark), True

    def load_reached(self, tx: Connection, position: str | None) -> None:
        """The load has recorded everything up to ``position``."""
        self._set(tx, load_position=position)

    def load_ended(self, tx: Connection) -> None:
        """The load is over."""
        self._set(tx, load_round=None)

    def sweep(self, tx: Connection) -> Pass:
        """The sweep that is under way, else a new one."""
        row = tx.execute(select(server).where(self._row)).one()
        if row.sweep_round is not None:
            return Pass(row.sweep_round, row.sweep_position)
        number = row.round + 1
        self._set(tx, round=number, sweep_round=number, sweep_position=None)
        return Pass(number, None)

    def sweep_reached(self, tx: Connection, position: str | None) -> None:
        """The sweep has met every run up to ``position``; None means all, and ends it."""
        if position is None:
            self._set(tx, sweep_round=None, sweep_position=None)
        else:
            self._set(tx, sweep_position=position)

    def round(self, tx: Connection) -> int:
        """The newest number that was given to a load or a sweep."""
        number: int = tx.execute(select(server.c.round).where(self._row)).scalar_one()
        return number

    def _set(self, tx: Connection, **values: Any) -> None:
        tx.execute(update(server).where(self._row).values(**values))
