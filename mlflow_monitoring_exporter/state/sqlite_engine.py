"""The state as one SQLite file, opened safely.

Write-ahead log with ``synchronous=FULL``: a committed transaction survives power loss, and readers
do not wait for the writer. Every write transaction starts with ``BEGIN IMMEDIATE``, so that it
waits for its turn at the start instead of failing in the middle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool

from mlflow_monitoring_exporter.core.errors import StateCorruptError, StateError, StateFullError
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, meta, metadata
from mlflow_monitoring_exporter.state.state_file import create, look_at, state_path
from mlflow_monitoring_exporter.state.written_by import Upgrade, sign, too_new, too_old, written_by

_BUSY_TIMEOUT_MS = 30_000
#: The part of a file that may be free without being worth the work, and pages that are given back in one go: a moment.
_FREE = 0.25
_PAGES = 2000
#: What SQLite calls a file whose free pages can be returned some at a time.
_INCREMENTAL = 2
#: Bytes to which a write-ahead log shrinks once what is in it is in the file.
_LOG = 16_000_000


class StoreFile:
    """``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""

    #: Options of a connection that only reads.
    reading: Mapping[str, Any] = {"reading": True}

    def __init__(self, url: str) -> None:
        self.path = state_path(url)
        self.where = f"the state file {self.path}"
        self.engine = self._engine()

    def exists(self, *, older: bool = False) -> bool:
        """Whether there is a file. Raises StateError for one of another release; ``older`` ones may be allowed."""
        if not self.path.exists():
            return False
        look_at(self.path)
        with self.engine.connect() as connection:
            reading = connection.execution_options(**self.reading)
            schema = self._schema(reading)
            if schema is not None and schema < SCHEMA_VERSION and not older:
                raise too_old(self.where, schema, written_by(reading))
        return True

    def open(self) -> Upgrade | None:
        """Create the file or its tables if need be, or bring those of an older release up to date.

        An upgrade is one transaction: it is there whole, or the file is as it was. No other process may use the file
        meanwhile: the caller holds its lock (state/state_file.py).
        """
        if create(self.path):
            with closing(sqlite3.connect(self.path)) as file:
                _make_anew(file)
        self._inode = self.path.stat().st_ino
        with self.engine.begin() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                raise StateCorruptError(f"{self.where} is damaged ({found})")
            schema = self._schema(connection)
            if schema is None:
                metadata.create_all(connection)
                connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
            if schema in (None, SCHEMA_VERSION):
                sign(connection)
                return None
        return self._upgrade()

    def _schema(self, connection: Connection) -> int | None:
        """The schema of the file; None for one without tables. Raises StateError for one that is too new."""
        if not inspect(connection).has_table("meta"):
            return None
        found = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if found is None or not found.isdecimal():
            raise StateCorruptError(f"{self.where} is damaged (it does not say which schema it has)")
        if int(found) > SCHEMA_VERSION:
            raise too_new(self.where, found, written_by(connection))
        return int(found)

    def _upgrade(self) -> Upgrade | None:
        from mlflow_monitoring_exporter.state.migrations import upgrade_file  # noqa: PLC0415 - alembic takes 0.2 s

        engine = self._engine(foreign_keys=False, poolclass=NullPool)
        try:
            with engine.begin() as connection:
                schema = self._schema(connection)  # another process may have been faster
                if schema is None or schema == SCHEMA_VERSION:
                    return None
                upgrade = Upgrade(schema, written_by(connection))
                upgrade_file(connection, schema)
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise StateError(
                        f"{self.where} cannot be upgraded from schema {schema}: a row of {broken[0]} belongs to a row "
                        f"of {broken[2]} that is not there; the file is as it was: move it aside to start afresh, or "
                        f"use release {upgrade.release}"
                    )
                connection.execute(meta.update().where(meta.c.key == "schema").values(value=str(SCHEMA_VERSION)))
                sign(connection)
        except SQLAlchemyError as error:
            raise self._not_upgraded(error) from error
        finally:
            engine.dispose()
        return upgrade

    def _not_upgraded(self, error: SQLAlchemyError) -> StateError:
        explained = self.explained(error)
        text = f"{explained}; it was not upgraded, and is as it was"
        if isinstance(explained, StateFullError):
            text += ": an upgrade needs about as much room as the file has"
        return type(explained)(text)

    def _engine(self, *, foreign_keys: bool = True, poolclass: type[Pool] | None = None) -> Engine:
        engine = create_engine(f"sqlite:///{self.path}", poolclass=poolclass)
        event.listen(engine, "connect", _configure_with_foreign_keys if foreign_keys else _configure)
        event.listen(engine, "begin", _begin)
        return engine

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
            raise StateCorruptError(f"{self.where} was removed or replaced by another process")

    def give_back(self) -> bool:
        """Return some of the free pages to the disk, if they are many; whether more are to be returned.

        A file of a release that could not do so is made anew once, when most of it is free. That this fails, for a
        disk that is full or a writer that takes long, changes nothing.
        """
        with self.engine.connect() as connection, suppress(sqlite3.Error):
            # SQLite's own connection: what is made anew must not be in a transaction.
            file: Any = connection.connection.driver_connection
            free, pages, automatic = (
                int(file.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("freelist_count", "page_count", "auto_vacuum")
            )
            if free < max(_PAGES, _FREE * pages):
                return False
            if automatic == _INCREMENTAL:
                file.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
                return True
            if free > pages / 2:
                _make_anew(file)
        return False

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


def _make_anew(file: sqlite3.Connection) -> None:
    """As small as what is in it, and able to return free pages some at a time, which only a new file learns."""
    file.execute("PRAGMA auto_vacuum=INCREMENTAL")
    file.execute("VACUUM")


def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: see _begin.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        f"journal_size_limit={_LOG}",
        "journal_mode=WAL",
        "synchronous=FULL",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _configure_with_foreign_keys(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    _configure(connection, entry)
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
