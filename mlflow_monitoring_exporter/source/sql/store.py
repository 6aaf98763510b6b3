"""What the SQL reader needs of a database that holds an MLflow store."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Executable

from mlflow_monitoring_exporter.source.sql.tables import Schema


class Store(Protocol):
    """A database, opened for reading only."""

    @property
    def uri(self) -> str:
        """Its address, without secrets."""
        ...

    @property
    def row_numbers(self) -> bool:
        """Whether every table has ``rowid``: numbers that grow with each inserted row."""
        ...

    def reading(self) -> AbstractContextManager[tuple[Connection, Schema]]:
        """One read transaction: everything inside sees the same state.

        Raises SourceUnavailableError when the database cannot be reached or is busy, and
        SourceRefusedError when it cannot be read or holds no MLflow store.
        """
        ...

    def version(self, connection: Connection) -> object | None:
        """A value that stays equal until the store is written to; None where it cannot be known."""
        ...

    def close(self) -> None: ...


def raw_rows(connection: Connection, query: Executable) -> Sequence[tuple[Any, ...]]:
    """All rows as the driver gives them: a third of the time that SQLAlchemy's own rows take.

    Raises the driver's own errors, too.
    """
    try:
        return _fetched(connection, query)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        # One damaged character must not hide every run; but looking out for it costs time for each text.
        # What is no UTF-8 becomes lone surrogates, which source/fields.py judges.
        driver: Any = connection.connection.driver_connection
        driver.text_factory = functools.partial(str, encoding="utf-8", errors="surrogateescape")
        return _fetched(connection, query)


def _fetched(connection: Connection, query: Executable) -> Sequence[tuple[Any, ...]]:
    result = connection.execute(query)
    try:
        rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
        return rows
    finally:
        result.close()
