"""The state in PostgreSQL: a schema of its own, shared by all replicas.

Tables, Procrastinate's among them, lie in the schema ``mlflow_exporter``, so that any database will do,
MLflow's own too. Whoever starts first creates or upgrades them, the others wait for that.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from mlflow_monitoring_exporter.core.errors import StateError, StateFullError, StateRefusedError
from mlflow_monitoring_exporter.core.foreign_text import one_line
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, meta, metadata, revision_of, schema_of
from mlflow_monitoring_exporter.state.written_by import Upgrade, sign, too_new, too_old, written_by

SCHEMA = "mlflow_exporter"
#: The newest of state/migrations/versions.
REVISION = revision_of(SCHEMA_VERSION)
#: Seconds: to connect; for a statement; until a replica that froze inside a transaction loses it, and its locks.
_CONNECT, _STATEMENT, _IDLE = 5, 120, 5
#: Of each session, set once it is there: a pool between us and PostgreSQL (PgBouncer) takes none when it is made.
SETTINGS = (
    f"SELECT set_config('search_path', '{SCHEMA}', false), "
    f"set_config('statement_timeout', '{_STATEMENT}s', false), "
    f"set_config('idle_in_transaction_session_timeout', '{_IDLE}s', false)"
)
#: For psycopg.connect. A server that vanished without a word is noticed in about ten seconds.
ARGUMENTS: Mapping[str, Any] = {
    "connect_timeout": _CONNECT,
    # Of a server whose encoding is SQL_ASCII psycopg would give us bytes.
    "client_encoding": "utf8",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
#: Any number that is not used for other advisory locks in this database.
_UPGRADING = 0x6D6C666D
#: Threads of one replica that use the database at the same time: pollers, collectors, a worker for each exporter.
_CONNECTIONS = 40
#: PostgreSQL's codes for what an operator must change: who may log in, which database, which rights.
_REFUSED = ("28", "3D", "3F", "42501")
_FULL = ("53100",)
#: How PostgreSQL and PgBouncer say it at the login, for which psycopg has no code.
_NO_LOGIN = ("authentication failed", "does not exist", "no such database", "no such user")
#: Looks at sessions from which it is told whether they are ours alone.
_LOOKS = 3


#: Gives the password as it is now; None for the URL's.
Password = Callable[[], str | None]


class StoreServer:
    """``postgresql://user:password@host:5432/database``."""

    #: Options of a connection that only reads.
    reading: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def __init__(self, url: str, password: Password | None = None) -> None:
        self._url = parts = make_url(url)
        self._password = password or (lambda: None)
        #: What the connections of this process are called, to tell them from others.
        self.session = f"mlflow-monitoring-exporter {secrets.token_hex(6)}"
        shown = URL.create("postgresql", host=parts.host, port=parts.port, database=parts.database)
        self.where = f"the state database {shown.render_as_string()}"
        self.engine = self._engine(pool_size=4, max_overflow=_CONNECTIONS - 4, pool_pre_ping=True, pool_recycle=3600)
        event.listen(self.engine, "connect", _configure)

    def _engine(self, **pool: Any) -> Engine:
        engine = create_engine(
            self._url.set(drivername="postgresql+psycopg"),
            connect_args={**ARGUMENTS, "application_name": self.session},
            hide_parameters=True,
            **pool,
        )
        event.listen(engine, "do_connect", self._authenticate)
        return engine

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

    def exists(self, *, older: bool = False) -> bool:
        """Whether there are tables. Raises StateError for those of another release; ``older`` ones may be allowed."""
        self._demand_sessions()
        with self.engine.connect() as connection:
            schema = self._schema(connection)
            if schema is not None and schema < SCHEMA_VERSION and not older:
                raise too_old(self.where, schema, written_by(connection))
        return schema is not None

    def open(self) -> Upgrade | None:
        """Create the tables, or bring those of an older release up to date, in one transaction."""
        self._demand_sessions()
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADING})
            schema = self._schema(connection)
            upgrade = None
            if schema != SCHEMA_VERSION:
                if schema is not None:
                    upgrade = Upgrade(schema, written_by(connection))
                for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    connection.execute(text(f"SET LOCAL {timeout} = 0"))  # it takes as long as it takes
                from mlflow_monitoring_exporter.state.migrations import upgrade_server  # noqa: PLC0415 - takes 0.2 s

                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                upgrade_server(connection)
            sign(connection)
        return upgrade

    def _demand_sessions(self) -> None:
        """Raise StateRefusedError for a pool that gives a session to another client after each transaction.

        There, what is set for a session is lost, or meets others, and a replica that froze cannot be parted from
        its locks. Two connections then meet in one session of PostgreSQL, or one has another one than before.
        Without anything between, one look is enough.
        """
        engine = self._engine(poolclass=NullPool)  # whose sessions have no settings that might meet others
        with ExitStack() as opened:
            opened.callback(engine.dispose)
            with engine.connect() as one:
                mine, driver = _session(one), one.connection.driver_connection
                if driver is not None and driver.info.backend_pid == mine:
                    return  # PostgreSQL itself said at the login who it is: nothing is between
                other = opened.enter_context(engine.connect())
                for _ in range(_LOOKS):
                    theirs = other.scalar(_PID)
                    if theirs == mine or _session(one) != mine:
                        raise StateRefusedError(
                            f"{self.where} is behind a pool that shares sessions of PostgreSQL between transactions "
                            "(of PgBouncer: pool_mode = transaction), and replicas need sessions of their own: let "
                            "state.url name PostgreSQL itself, or a pool with pool_mode = session"
                        )
                    other.rollback()

    def _schema(self, connection: Connection) -> int | None:
        """The schema of the tables; None without any. Raises StateError for one that is too new."""
        revision = _revision(connection)
        if revision is None:
            return None
        schema = schema_of(revision)
        if schema is None or schema > SCHEMA_VERSION:
            raise too_new(self.where, revision if schema is None else schema, written_by(connection))
        return schema

    def copy_to(self, path: Path) -> None:
        """A consistent copy of all tables in a new SQLite file."""
        target = create_engine(f"sqlite:///{path}")
        metadata.create_all(target)
        with self.engine.connect().execution_options(**self.reading) as source, target.begin() as copy:
            copy.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
            for table in metadata.sorted_tables:
                # Whose it is does not matter to a copy, and who they are need not be there.
                columns = [column.label(column.key) for column in table.c if column.name != "owner"]
                for rows in source.execute(select(*columns).execution_options(yield_per=5000)).mappings().partitions():
                    copy.execute(table.insert(), [dict(row) for row in rows])
        target.dispose()

    def check(self) -> None:
        """A server cannot be removed under us unnoticed."""

    def explained(self, error: SQLAlchemyError) -> StateError:
        """What happened, for people."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = one_line(str(cause))
        state = getattr(cause, "sqlstate", None) or ""
        login = state == "" and any(words in said for words in _NO_LOGIN)
        if state.startswith(_REFUSED) or login:
            return StateRefusedError(f"{self.where} refuses to be used: {said}: check state.url")
        if state.startswith(_FULL):
            return StateFullError(f"the disk of {self.where} is full")
        return StateError(f"{self.where} cannot be used now: {said}")


_PID = text("SELECT pg_backend_pid()")


def _session(connection: Connection) -> int:
    """Which process of PostgreSQL serves this connection now; it may serve another one afterwards."""
    found: int = connection.scalar(_PID)
    connection.rollback()
    return found


def _configure(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.execute(SETTINGS)
    connection.commit()


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    table = f"{SCHEMA}.alembic_version"
    if connection.execute(text("SELECT to_regclass(:table)"), {"table": table}).scalar() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
