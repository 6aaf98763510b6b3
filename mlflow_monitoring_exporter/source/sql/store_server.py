"""An MLflow store in PostgreSQL or MySQL, opened so that nothing can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from mlflow_monitoring_exporter.config.fields import DATABASE_DRIVERS
from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceError, SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.core.foreign_text import one_line
from mlflow_monitoring_exporter.source.sql.tables import Schema, read_schema

#: PostgreSQL's and MySQL's codes for what an operator must change: who may log in, what they may read, which database.
_REFUSED_CLASSES = ("28", "3D", "42")
#: How PostgreSQL and PgBouncer say it at the login, for which psycopg has no code.
_NO_LOGIN = ("authentication failed", "does not exist", "no such database", "no such user")
_REFUSED_NUMBERS = (1044, 1045, 1049, 1142, 1143, 1698)


class StoreServer:
    """The database behind ``postgresql://...`` or ``mysql://...``.

    Transactions are read-only and see one state of the store; they take no locks that would keep
    MLflow waiting.
    """

    #: Neither numbers its rows in the order in which they become visible.
    row_numbers = False

    def __init__(self, config: MlflowConfig) -> None:
        url = make_url(config.tracking_uri)
        kind = url.get_backend_name()
        shown = URL.create(kind, host=url.host, port=url.port, database=url.database)
        self.uri = shown.render_as_string()
        self._schema: Schema | None = None
        self._engine = create_engine(
            url.set(drivername=f"{kind}+{DATABASE_DRIVERS[kind]}"),
            isolation_level="REPEATABLE READ",
            connect_args=_ARGUMENTS[kind](config.timeout),
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        self._config = config
        event.listen(self._engine, "do_connect", self._authenticate)
        if kind == "postgresql":
            milliseconds = int(config.timeout * 1000)
            # Of a transaction: in a pool of transactions (PgBouncer), a session belongs to another client after each.
            self._engine.update_execution_options(postgresql_readonly=True)
            event.listen(
                self._engine,
                "begin",
                lambda connection: connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}"),
            )

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Schema]]:
        """One read transaction: everything inside sees the same state.

        Raises SourceUnavailableError when the database does not answer, and SourceRefusedError
        when it refuses us or holds no MLflow store.
        """
        try:
            with self._engine.connect() as connection:
                if self._schema is None:
                    self._schema = read_schema(connection, self.uri)
                yield connection, self._schema
        except (DBAPIError, self._engine.dialect.loaded_dbapi.Error) as error:
            self._schema = None  # an upgrade may have happened
            raise self._explained(getattr(error, "orig", error)) from None

    def version(self, connection: Connection) -> None:  # nothing tells
        """Neither says cheaply whether anything changed."""
        return

    def close(self) -> None:
        self._engine.dispose()

    def _authenticate(self, _dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> None:
        """As mlflow.username and mlflow.password say, read anew for each connection."""
        if self._config.username:
            parameters["user"] = self._config.username
            parameters["password"] = self._config.secret("password").get()

    def _explained(self, error: BaseException | None) -> SourceError:
        # pymysql's errors are (number, words), psycopg's are words.
        arguments = error.args if error is not None else ()
        number = arguments[0] if arguments else None
        said = one_line(str(arguments[-1] if arguments else error))
        state = getattr(error, "sqlstate", None) or ""
        login = any(words in said for words in _NO_LOGIN)
        if state.startswith(_REFUSED_CLASSES) or number in _REFUSED_NUMBERS or login:
            keys = "mlflow.username and mlflow.password" if self._config.username else "mlflow.tracking_uri"
            return SourceRefusedError(f"{self.uri} refuses to be read: {said}: check {keys}")
        return SourceUnavailableError(f"{self.uri} cannot be read now: {said}")


def _postgresql(timeout: float) -> Mapping[str, Any]:
    return {
        "connect_timeout": max(2, int(timeout)),
        # What one session has prepared, the next one behind a pool does not know.
        "prepare_threshold": None,
        "application_name": "mlflow-monitoring-exporter",
    }


def _mysql(timeout: float) -> Mapping[str, Any]:
    seconds = max(1, int(timeout))
    return {
        "connect_timeout": seconds,
        "read_timeout": seconds,
        "write_timeout": seconds,
        "init_command": "SET SESSION TRANSACTION READ ONLY",
    }


_ARGUMENTS = {"postgresql": _postgresql, "mysql": _mysql}
