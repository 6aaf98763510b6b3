"""Transactions with one database, and what its failures mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError

from mlflow_monitoring_tracking.backends.contract import BackendError, Rejected, RunGone, Unauthorized, Unavailable
from mlflow_monitoring_tracking.backends.database.schema import prepare

#: Seconds for a connection, for a lock, and for one statement.
_CONNECT, _LOCK, _STATEMENT = 10, 10, 60
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


class Connections:
    """To one database. Made anew in a forked child, which must not speak on its parent's.

    :raises ValueError: ``address`` is no URL of SQLite or PostgreSQL.
    :raises ImportError: the driver is not installed.
    """

    def __init__(self, address: str) -> None:
        self._url = _url(address)
        self._engine: Engine = _engine(self._url)
        self._pid = os.getpid()
        self._is_prepared = False

    @property
    def where(self) -> str:
        """For people: no user, no password, no options."""
        url = self._url
        if url.get_backend_name() == "sqlite":
            return f"SQLite {url.database or 'in memory'}"
        return f"PostgreSQL {url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction; the tables are there.

        :raises BackendError: it was not committed.
        """
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    # For this transaction only: a pooler may give the connection to others afterwards.
                    connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT}s'"))
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK}s'"))
                if not self._is_prepared:
                    prepare(connection)
                yield connection
            self._is_prepared = True
        except (SQLAlchemyError, OSError) as error:
            raise self._meaning(error) from None  # the error itself holds the statement, its values and the address

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose(close=self._pid == os.getpid())

    def _meaning(self, error: Exception) -> BackendError:
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        said = " ".join(str(cause).split())[:300]
        said = self._without_password(f"{self.where}: {said or type(cause).__name__}")
        state = str(getattr(cause, "sqlstate", None) or "")
        if state.startswith("28") or "authentication failed" in said:
            return Unauthorized(said)
        if isinstance(error, IntegrityError) and "foreign key" in said.lower():
            return RunGone(f"the run was deleted there: {said}")
        # Class 22 is data that no column takes, 54 what is too large for an index.
        if isinstance(error, (DataError, IntegrityError)) or state.startswith(("22", "54")):
            return Rejected(said)
        return Unavailable(said)

    def _without_password(self, said: str) -> str:
        if password := self._url.password:
            for form in {str(password), quote(str(password), safe=""), quote_plus(str(password))}:
                said = said.replace(form, "***")
        return said


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ValueError("database.url is no URL such as sqlite:///runs.db or postgresql://user@host/name") from None
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ValueError(f"database.url: SQLite and PostgreSQL are written to, not {url.get_backend_name()}")
    return url


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        # A network that swallows packets ends a connection after so long, whatever was asked on it.
        limits = {"connect_timeout": _CONNECT, "tcp_user_timeout": _STATEMENT * 1000}
        return create_engine(
            url, connect_args=limits, pool_size=1, max_overflow=1, pool_timeout=_CONNECT, pool_pre_ping=True
        )
    engine = create_engine(url, connect_args={"timeout": _LOCK})

    @event.listens_for(engine, "connect")
    def referential(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    return engine
