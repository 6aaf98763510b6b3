"""An SQLite file of MLflow's, opened so that nothing can be written and nobody is kept waiting."""

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

from mlflow_monitoring_exporter.errors import SourceError, SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.source.sql.tables import Schema, read_schema

_Identity = tuple[int, int]


class StoreFile:
    """The file behind ``sqlite:///...``.

    MLflow's stores use a rollback journal, in which a reader delays every writer: transactions
    are short, and none is open while a caller works on what was read.
    """

    row_numbers = True

    def __init__(self, uri: str, *, busy_timeout: float) -> None:
        self.path = Path(make_url(uri).database or "").resolve()
        self.uri = f"sqlite:///{self.path}"
        self._identity: _Identity | None = None
        self._schema: Schema | None = None
        self._busy_timeout = busy_timeout
        self._engine = create_engine("sqlite://", creator=self._open, poolclass=QueuePool, pool_size=1, max_overflow=0)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Schema]]:
        """One read transaction: everything inside sees the same state.

        Raises SourceUnavailableError when the file is missing or busy, and SourceRefusedError when
        it cannot be read or is not an MLflow store.
        """
        self._notice_replacement()
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                if self._schema is None:
                    self._schema = read_schema(connection, self.uri)
                yield connection, self._schema
        except (DBAPIError, sqlite3.Error) as error:
            self._schema = None  # an upgrade may have happened
            raise self._explained(getattr(error, "orig", error)) from None

    def version(self, connection: Connection) -> object | None:
        """SQLite counts the commits of others, for each connection apart."""
        token = connection.info.setdefault("token", object())
        return token, connection.exec_driver_sql("PRAGMA data_version").scalar()

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=ro",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def _notice_replacement(self) -> None:
        """A file that was deleted and made anew would be read on from the old one's remains."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            raise SourceUnavailableError(
                f"no MLflow store at {self.path}: run mlflow-monitoring-exporter generate-sample, "
                "or set mlflow.tracking_uri"
            ) from None
        except OSError as error:
            raise SourceRefusedError(f"{self.path} cannot be read: {error.strerror}") from None
        if not self.path.is_file():
            raise SourceRefusedError(f"{self.path} is not a file: set mlflow.tracking_uri to an MLflow store")
        identity = (stat.st_dev, stat.st_ino)
        if identity != self._identity:
            self._engine.dispose()
            self._identity, self._schema = identity, None

    def _explained(self, error: BaseException | None) -> SourceError:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SourceUnavailableError(f"{self.uri} is locked by a writer for longer than {self._busy_timeout:g} s")
        if name.startswith("SQLITE_NOTADB"):
            return SourceRefusedError(
                f"{self.uri} is not an SQLite database: set mlflow.tracking_uri to an MLflow store"
            )
        if name.startswith("SQLITE_CORRUPT"):
            return SourceRefusedError(f"{self.uri} is damaged: sqlite3 {self.path} '.recover' may save its content")
        if name.startswith("SQLITE_READONLY"):
            return SourceUnavailableError(
                f"{self.uri} was left half-written by a program that died: any mlflow command on it repairs it"
            )
        if name.startswith("SQLITE_CANTOPEN") and not os.access(self.path, os.R_OK, effective_ids=True):
            return SourceRefusedError(f"{self.uri} cannot be read: its permissions forbid it")
        return SourceUnavailableError(f"{self.uri} cannot be read now: {error}")
