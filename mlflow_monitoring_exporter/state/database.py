"""The state database: one SQLite file, opened safely.

Write-ahead log with ``synchronous=FULL``: a committed transaction survives power loss, and readers
do not wait for the writer. Every write transaction starts with ``BEGIN IMMEDIATE``, so that it
waits for its turn at the start instead of failing in the middle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from mlflow_monitoring_exporter.errors import StateCorruptError, StateError, StateFullError
from mlflow_monitoring_exporter.state.file import create, state_path
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, meta, metadata

_BUSY_TIMEOUT_MS = 30_000


class Database:
    """An open state database; usable from every thread.

    Raises StateError (or the kind of it that fits) from every method.
    """

    def __init__(self, url: str) -> None:
        self.path = state_path(url)
        self._engine = self._open()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that is committed whole at the end of the block, or not at all."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never waits for a writer."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(reading=True)

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the whole database in a new file."""
        with self._translated(), self._engine.connect() as connection:
            source = connection.connection.driver_connection
            target = sqlite3.connect(path)
            try:
                source.backup(target)  # type: ignore[union-attr]
            finally:
                target.close()

    def check_file(self) -> None:
        """Raise StateCorruptError when the file was removed or replaced: what is written now would be lost."""
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise StateCorruptError(f"the state file {self.path} was removed or replaced by somebody else")

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> Engine:
        engine = create_engine(f"sqlite:///{self.path}")
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        create(self.path)
        self._inode = self.path.stat().st_ino
        with self._translated(), engine.begin() as connection:
            self._check(connection)
            metadata.create_all(connection)
            found = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
            if found is None:
                connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
            elif found != str(SCHEMA_VERSION):
                raise StateError(
                    f"the state file {self.path} has schema version {found}, this release needs {SCHEMA_VERSION}: "
                    "move it aside to start afresh, or use the release that wrote it"
                )
        return engine

    def _check(self, connection: Connection) -> None:
        """Whether the file is whole."""
        found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if found != "ok":
            raise StateCorruptError(f"the state file {self.path} is damaged ({found})")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise self._operational(error) from error
        except DatabaseError as error:
            raise StateCorruptError(f"the state file {self.path} is damaged ({error.orig})") from error
        except SQLAlchemyError as error:
            raise StateError(f"the state file {self.path} cannot be used: {error}") from error

    def _operational(self, error: OperationalError) -> StateError:
        said = str(error.orig)
        if "full" in said:
            return StateFullError(f"the disk under the state file {self.path} is full")
        return StateError(f"the state file {self.path} cannot be used: {said}")


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
