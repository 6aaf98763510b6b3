"""An SQLite file of MLflow's, opened so that nothing can be written and no writer is blocked."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from mlflow_monitoring_exporter.core.errors import SourceError, SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.source.sql.tables import Schema, read_schema

#: Device and inode; of a file that is taken to be at rest also its time and size.
_Identity = tuple[int, ...]
#: Where an SQLite file says that it is in WAL mode.
_WAL_MARK = slice(18, 20)


class StoreFile:
    """The file behind ``sqlite:///...``.

    MLflow's stores use a rollback journal, in which a reader delays every writer: transactions
    are short, and none is open while a caller works on what was read.

    In WAL mode even a reader needs files beside the store. Where it can make none, a store that has no
    write-ahead log is at rest: it is read as it lies there (``immutable``), and again whenever it is another.
    """

    row_numbers = True

    def __init__(self, uri: str, *, busy_timeout: float) -> None:
        self.path = Path(make_url(uri).database or "").resolve()
        self.uri = f"sqlite:///{self.path}"
        self._identity: _Identity | None = None
        self._schema: Schema | None = None
        self._immutable = False
        self._busy_timeout = busy_timeout
        self._engine = create_engine("sqlite://", creator=self._open, poolclass=QueuePool, pool_size=1, max_overflow=0)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Schema]]:
        """One read transaction: everything inside sees the same state.

        Raises SourceUnavailableError when the file is missing or busy, and SourceRefusedError when
        it cannot be read or is not an MLflow store.
        """
        self._detect_replacement()
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                if self._schema is None:
                    self._schema = read_schema(connection, self.uri)
                yield connection, self._schema
            self._refuse_if_written()
        except (DBAPIError, sqlite3.Error) as error:
            self._schema = None  # an upgrade may have happened
            self._refuse_if_written()
            raise self._explained(getattr(error, "orig", error)) from None

    def version(self, connection: Connection) -> object | None:
        """SQLite counts the commits of others, for each connection apart; but not of a file at rest."""
        if self._immutable:
            return self._identity
        token = connection.info.setdefault("token", object())
        return token, connection.exec_driver_sql("PRAGMA data_version").scalar()

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> sqlite3.Connection:
        """Raises sqlite3.Error."""
        self._immutable = False
        connection = self._connect("mode=ro")
        if not self._in_wal_mode() or self._log_holds_something():
            return connection
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if not _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
            self._immutable = True
            self._identity = self._stat()
            connection = self._connect("mode=ro&immutable=1")
        return connection

    def _connect(self, how: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?{how}",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def _in_wal_mode(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return file.read(_WAL_MARK.stop)[_WAL_MARK] == b"\2\2"
        except OSError:
            return False

    def _log_holds_something(self) -> bool:
        try:
            return self._log.stat().st_size > 0
        except FileNotFoundError:
            return False
        except OSError:
            return True

    @property
    def _log(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def _stat(self) -> _Identity:
        """Raises OSError."""
        stat = self.path.stat()
        if not self._immutable:
            return stat.st_dev, stat.st_ino
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size, self._log_holds_something()

    def _detect_replacement(self) -> None:
        """A file that was deleted and made anew would be read on from the old one's remains."""
        try:
            identity = self._stat()
        except FileNotFoundError:
            raise SourceUnavailableError(
                f"no MLflow store at {self.path}: run mlflow-monitoring-exporter generate-sample, "
                "or set mlflow.tracking_uri"
            ) from None
        except OSError as error:
            raise SourceRefusedError(f"{self.path} cannot be read: {error.strerror}") from None
        if not self.path.is_file():
            raise SourceRefusedError(f"{self.path} is not a file: set mlflow.tracking_uri to an MLflow store")
        if identity != self._identity:
            self._engine.dispose()
            self._immutable, self._schema = False, None
            self._identity = self._stat()

    def _refuse_if_written(self) -> None:
        """What was read of a file at rest is worth nothing if it was written to meanwhile."""
        try:
            is_same = not self._immutable or self._stat() == self._identity
        except OSError:
            is_same = False
        if not is_same:
            raise SourceUnavailableError(f"{self.uri} was written to while it was read")

    def _explained(self, error: BaseException | None) -> SourceError:
        name = _name(error)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SourceUnavailableError(f"{self.uri} is locked by a writer for longer than {self._busy_timeout:g} s")
        if name.startswith("SQLITE_NOTADB"):
            return SourceRefusedError(
                f"{self.uri} is not an SQLite database: set mlflow.tracking_uri to an MLflow store"
            )
        if name.startswith("SQLITE_CORRUPT"):
            return SourceRefusedError(f"{self.uri} is damaged: sqlite3 {self.path} '.recover' may save its content")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            return self._explained_open(name, error)
        return SourceUnavailableError(f"{self.uri} cannot be read now: {error}")

    def _explained_open(self, name: str, error: BaseException | None) -> SourceError:
        if not os.access(self.path, os.R_OK, effective_ids=True):
            return SourceRefusedError(f"{self.uri} cannot be read: its permissions forbid it")
        if self._in_wal_mode():
            return SourceRefusedError(
                f"{self.uri} is in WAL mode, in which reading {self._log.name} takes writing to {self.path.parent}, "
                "which is not possible here: make that directory writable for this program, or end the log where "
                f"it is: sqlite3 {self.path} 'PRAGMA journal_mode = DELETE'"
            )
        if name.startswith("SQLITE_READONLY"):
            return SourceUnavailableError(
                f"{self.uri} was left half-written by a program that died: any mlflow command on it repairs it"
            )
        return SourceUnavailableError(f"{self.uri} cannot be read now: {error}")


def _name(error: BaseException | None) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
