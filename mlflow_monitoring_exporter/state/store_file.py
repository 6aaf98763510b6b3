"""The state as one SQLite file, opened safely.

Write-ahead log with ``synchronous=FULL``: a committed transaction survives power loss, and readers
do not wait for the writer. Every write transaction starts with ``BEGIN IMMEDIATE``, so that it
waits for its turn at the start instead of failing in the middle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, select, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from mlflow_monitoring_exporter.errors import StateCorruptError, StateError, StateFullError
from mlflow_monitoring_exporter.state.file import create, state_path
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, meta, metadata

_BUSY_TIMEOUT_MS = 30_000


class StoreFile:
    """``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""

    #: Options of a connection that only reads.
    reading: Mapping[str, Any] = {"reading": True}

    def __init__(self, url: str) -> None:
        self.path = state_path(url)
        self.where = f"the state file {self.path}"
        self.engine = create_engine(f"sqlite:///{self.path}")
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)

    def exists(self) -> bool:
        """Whether there is a file."""
        return self.path.exists()

    def open(self) -> None:
        """Create the file or its tables if need be."""
        create(self.path)
        self._inode = self.path.stat().st_ino
        with self.engine.begin() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                raise StateCorruptError(f"{self.where} is damaged ({found})")
            metadata.create_all(connection)
            version = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
            if version is None:
                connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
            elif version != str(SCHEMA_VERSION):
                raise StateError(
                    f"{self.where} has schema version {version}, this release needs {SCHEMA_VERSION}: "
                    "move it aside to start afresh, or use the release that wrote it"
                )

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the whole database in a new file."""
        with self.engine.connect() as connection, closing(sqlite3.connect(path)) as target:
            source = connection.connection.driver_connection
            source.backup(target)  # type: ignore[union-attr]

    def check(self) -> None:
        """Raise StateCorruptError when the file was removed or replaced: what is written now would be lost."""
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise StateCorruptError(f"{self.where} was removed or replaced by somebody else")

    def explained(self, error: SQLAlchemyError) -> StateError:
        """What happened, for people."""
        if isinstance(error, OperationalError):
            said = str(error.orig)
            if "full" in said:
                return StateFullError(f"the disk under {self.where} is full")
            return StateError(f"{self.where} cannot be used: {said}")
        if isinstance(error, DatabaseError):
            return StateCorruptError(f"{self.where} is damaged ({error.orig})")
        return StateError(f"{self.where} cannot be used: {error}")


def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: see _begin.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
