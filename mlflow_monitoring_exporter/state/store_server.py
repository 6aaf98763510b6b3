"""The state in PostgreSQL: a schema of its own, shared by all replicas.

Tables, Procrastinate's among them, lie in the schema ``mlflow_exporter``, so that any database will do,
MLflow's own too. Whoever starts first creates or upgrades them, the others wait for that.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mlflow_monitoring_exporter.errors import StateError, StateFullError, StateRefusedError
from mlflow_monitoring_exporter.state.schema import metadata

SCHEMA = "mlflow_exporter"
#: The newest of state/migrations/versions.
REVISION = "0001"

#: Seconds: to connect; for a statement; until a replica that froze inside a transaction loses it, and its locks.
_CONNECT, _STATEMENT, _IDLE = 5, 120, 5
_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in (
        ("search_path", SCHEMA),
        ("statement_timeout", f"{_STATEMENT}s"),
        ("idle_in_transaction_session_timeout", f"{_IDLE}s"),
    )
)
#: For psycopg.connect. A server that vanished without a word is noticed in about ten seconds.
ARGUMENTS: Mapping[str, Any] = {
    "connect_timeout": _CONNECT,
    "options": _OPTIONS,
    # Of a server whose encoding is SQL_ASCII psycopg would give us bytes.
    "client_encoding": "utf8",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
#: Any number that nobody else uses for advisory locks in this database.
_UPGRADING = 0x6D6C666D
#: Threads of one replica that use the database at the same time: pollers, collectors, a worker for each exporter.
_CONNECTIONS = 40
#: PostgreSQL's codes for what somebody must change: who may log in, which database, which rights.
_REFUSED = ("28", "3D", "3F", "42501")
_FULL = ("53100",)


#: Gives the password as it is now; None for the URL's.
Password = Callable[[], str | None]


class StoreServer:
    """``postgresql://user:password@host:5432/database``."""

    #: Options of a connection that only reads.
    reading: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def __init__(self, url: str, password: Password | None = None) -> None:
        self._url = parts = make_url(url)
        self._password = password or (lambda: None)
        #: What the connections of this process are called, and nobody else's.
        self.session = f"mlflow-monitoring-exporter {secrets.token_hex(6)}"
        shown = URL.create("postgresql", host=parts.host, port=parts.port, database=parts.database)
        self.where = f"the state database {shown.render_as_string()}"
        self.engine = create_engine(
            parts.set(drivername="postgresql+psycopg"),
            connect_args={**ARGUMENTS, "application_name": self.session},
            pool_size=4,
            max_overflow=_CONNECTIONS - 4,
            pool_pre_ping=True,
            pool_recycle=3600,
            hide_parameters=True,
        )
        event.listen(self.engine, "do_connect", self._authenticate)

    @property
    def conninfo(self) -> str:
        """For psycopg, with the password as it is now."""
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - needs an extra

        known = self.engine.dialect.create_connect_args(self._url)[1]
        parts: dict[str, Any] = {name: value for name, value in known.items() if isinstance(value, str | int)}
        if (word := self._password()) is not None:
            parts["password"] = word
        return make_conninfo(**parts, application_name=self.session)

    def _authenticate(self, _dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> None:
        if (word := self._password()) is not None:
            parameters["password"] = word

    def exists(self) -> bool:
        """Whether there are tables. Raises StateError for those of another release."""
        with self.engine.connect() as connection:
            found = _revision(connection)
        if found not in (None, REVISION):
            raise StateError(
                f"{self.where} was written by another release (its schema is {found}, this one needs {REVISION}): "
                "use that release, or start a daemon of this one, which upgrades older tables"
            )
        return found is not None

    def open(self) -> None:
        """Create the tables, or bring those of an older release up to date."""
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADING})
            found = _revision(connection)
            if found == REVISION:
                return
            from mlflow_monitoring_exporter.state.migrations import upgrade  # noqa: PLC0415 - alembic takes 0.2 s

            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            if not upgrade(connection):
                raise StateError(
                    f"{self.where} was written by a newer release (its schema is {found}, this one knows {REVISION}): "
                    "use that release, or another database"
                )

    def copy_to(self, path: Path) -> None:
        """A consistent copy of all tables in a new SQLite file."""
        target = create_engine(f"sqlite:///{path}")
        metadata.create_all(target)
        with self.engine.connect().execution_options(**self.reading) as source, target.begin() as copy:
            for table in metadata.sorted_tables:
                # Whose it is does not matter to a copy, and who they are need not be there.
                columns = [column for column in table.c if column.name != "owner"]
                for rows in source.execute(select(*columns).execution_options(yield_per=5000)).mappings().partitions():
                    copy.execute(table.insert(), [dict(row) for row in rows])
        target.dispose()

    def check(self) -> None:
        """Nobody removes a server under us without its noticing."""

    def explained(self, error: SQLAlchemyError) -> StateError:
        """What happened, for people."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = " ".join(str(cause).split())
        state = getattr(cause, "sqlstate", None) or ""
        # psycopg has no code for a failed login, only the server's words.
        login = state == "" and ("authentication failed" in said or "does not exist" in said)
        if state.startswith(_REFUSED) or login:
            return StateRefusedError(f"{self.where} refuses to be used: {said}: check state.url")
        if state.startswith(_FULL):
            return StateFullError(f"the disk of {self.where} is full")
        return StateError(f"{self.where} cannot be used now: {said}")


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    table = f"{SCHEMA}.alembic_version"
    if connection.execute(text("SELECT to_regclass(:table)"), {"table": table}).scalar() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
