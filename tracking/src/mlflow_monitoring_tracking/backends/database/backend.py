"""Every run in a database: what was said twice is there once, and of parameters and tags the last word counts."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mlflow_monitoring_tracking.backends.contract import Pair, RunGone, RunState, Upload
from mlflow_monitoring_tracking.backends.database import schema
from mlflow_monitoring_tracking.backends.database.connections import Connections
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.spool.records import Opened, Point

_BITS = struct.Struct("<d"), struct.Struct("<q")


class DatabaseBackend:
    """Writes to the tables of ``schema.py``. Each call is one transaction.

    :raises ValueError: ``url`` is no URL of SQLite or PostgreSQL.
    """

    name = "database"
    max_points = 5000

    def __init__(self, url: str) -> None:
        self._connections = Connections(url)

    def check(self) -> str:
        """Make the tables, unless they are there."""
        with self._connections.transaction() as connection:
            connection.execute(select(schema.runs.c.id).limit(1))
        return f"{self._connections.where} can be written"

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """Find the run by its key, or add it."""
        row = {
            "run_key": _text(run.run_key),
            "experiment": _text(run.experiment),
            "name": _optional(run.run_name),
            "description": _optional(run.description),
            "parent_key": _optional(run.parent_key),
            "status": "RUNNING",
            "start_ms": run.start_ms,
            "host": _text(run.host),
            "library": _text(run.library),
        }
        with self._connections.transaction() as connection:
            found = _id(connection, run)
            if state.run_id is not None and str(found) != state.run_id:
                raise RunGone(f"the run {run.run_key} was deleted in {self._connections.where}")
            if found is None:
                _insert(connection, schema.runs, [row], ("run_key",))
                found = _id(connection, run)
                tags = [Pair(key, value) for key, value in run.tags.items()]
                _insert(connection, schema.tags, _rows(str(found), tags), ("run_id", "key"))
        if state.run_id is None:
            state.run_id = str(found)
            event("run_started", experiment_id=run.experiment, run_id=run.run_key, platform=self.name)

    def resume(self, run: Opened, state: RunState) -> None:
        """Set the status back to RUNNING."""
        self._update(state, status="RUNNING", end_ms=None)

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """Add those points that are not there yet."""
        rows = [
            {
                "run_id": _number(state),
                "key": _text(point.key),
                "step": point.step or 0,
                "time_ms": point.time_ms,
                "bits": _bits(point.value),
                "value": None if math.isnan(point.value) else point.value,
            }
            for point in points
        ]
        with self._connections.transaction() as connection:
            _insert(connection, schema.points, rows, ("run_id", "key", "step", "time_ms", "bits"))

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """Add or replace parameters."""
        self._replace(schema.params, state, params)

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """Add or replace tags."""
        self._replace(schema.tags, state, tags)

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Note path, size and checksum of the file, which stays where it is."""
        row = {"run_id": _number(state), "path": _text(upload.path), "size": upload.size, "sha256": _sha256(upload)}
        with self._connections.transaction() as connection:
            _insert(connection, schema.artifacts, [row], ("run_id", "path"), ("size", "sha256"))

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """Status and time of the end."""
        self._update(state, status=status, end_ms=end_ms)
        event("run_ended", run_id=run.run_key, platform=self.name, status=status)

    def close(self) -> None:
        """Let go of connections."""
        self._connections.close()

    def _replace(self, table: Table, state: RunState, pairs: Sequence[Pair]) -> None:
        with self._connections.transaction() as connection:
            _insert(connection, table, _rows(state.run_id, pairs), ("run_id", "key"), ("value",))

    def _update(self, state: RunState, **values: object) -> None:
        with self._connections.transaction() as connection:
            done = connection.execute(update(schema.runs).where(schema.runs.c.id == _number(state)).values(**values))
            if not done.rowcount:
                raise RunGone(f"the run {state.run_id} was deleted in {self._connections.where}")


def _insert(
    connection: Connection,
    table: Table,
    rows: list[dict[str, Any]],
    unique: tuple[str, ...],
    replaced: tuple[str, ...] = (),
) -> None:
    """Add rows; of one that is there, by its ``unique`` columns, the ``replaced`` ones change and the rest stays."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    if replaced:
        new = {name: statement.excluded[name] for name in replaced}
        statement = statement.on_conflict_do_update(index_elements=list(unique), set_=new)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=list(unique))
    connection.execute(statement, rows)


def _id(connection: Connection, run: Opened) -> int | None:
    return connection.scalar(select(schema.runs.c.id).where(schema.runs.c.run_key == _text(run.run_key)))


def _rows(run_id: str | None, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """One row for each key, as a statement must not touch one twice: of its last value."""
    last = {_text(pair.key): _text(pair.value) for pair in pairs}
    return [{"run_id": int(run_id or 0), "key": key, "value": value} for key, value in last.items()]


def _number(state: RunState) -> int:
    return int(state.run_id or 0)


def _bits(value: float) -> int:
    """The value's own bits; one and the same for every NaN."""
    double, integer = _BITS
    [bits] = integer.unpack(double.pack(math.nan if math.isnan(value) else value))
    return int(bits)


def _text(text: str) -> str:
    """What both databases store: PostgreSQL takes no NUL, and neither half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _optional(text: str | None) -> str | None:
    return None if text is None else _text(text)


def _sha256(upload: Upload) -> str | None:
    if upload.sha256 is not None:
        return upload.sha256
    try:
        with upload.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # it was not copied, and is gone; that there was one is still worth a row
