"""The state database: one SQLite file for one daemon, or a PostgreSQL schema for any number of them.

::

    sqlite:///exporter-state.db          state/sqlite_engine.py
    postgresql://host/database           state/postgresql_engine.py

A transaction of a replica holds on to the replica's own row: one that was given up by the others while it
was frozen has none any more, and can write nothing (state/membership.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from mlflow_monitoring_exporter.core.errors import ConfigError, StateError, StateExpelledError
from mlflow_monitoring_exporter.state.postgresql_engine import Password, StoreServer
from mlflow_monitoring_exporter.state.schema import replica
from mlflow_monitoring_exporter.state.sqlite_engine import StoreFile
from mlflow_monitoring_exporter.state.written_by import Upgrade


def is_shared(url: str) -> bool:
    """Whether many daemons may share the state at this address."""
    return not url.startswith("sqlite:")


def where(url: str) -> str:
    """The state at this address, for people."""
    return _store(url).where


def copy_state(url: str, path: Path, password: Password | None = None) -> None:
    """A consistent copy of the state at this address in a new SQLite file; nothing when there is none.

    The original stays as it is, and a file may be of an older release. Raises StateError.
    """
    store = _store(url, password)
    try:
        with _translated(store):
            if store.exists(older=isinstance(store, StoreFile)):
                store.copy_to(path)
    finally:
        store.engine.dispose()


def _store(url: str, password: Password | None = None) -> StoreFile | StoreServer:
    return StoreServer(url, password) if is_shared(url) else StoreFile(url)


class Database:
    """An open state database; usable from every thread.

    Raises StateError (or the kind of it that fits) from every method.
    """

    def __init__(self, url: str, password: Password | None = None) -> None:
        """``password`` is asked before each connection; without it the ``url``'s counts."""
        self._store = _store(url, password)
        self.where = self._store.where
        self._engine = self._store.engine
        self._replica: int | None = None
        with self._translated():
            #: What was brought up to date when it was opened.
            self.upgraded: Upgrade | None = self._store.open()

    @classmethod
    def existing(cls, url: str, password: Password | None = None) -> Database | None:
        """The same, but nothing is made, and StateError is raised for what needs an upgrade; None without any state."""
        store = _store(url, password)
        try:
            with _translated(store):
                found = store.exists()
        finally:
            store.engine.dispose()
        return cls(url, password) if found else None

    @property
    def server(self) -> StoreServer:
        """The PostgreSQL that it is in; TypeError for a file."""
        if not isinstance(self._store, StoreServer):
            raise TypeError(self.where)
        return self._store

    @property
    def divided(self) -> bool:
        """Whether queues have partitions here, because many deliver."""
        return isinstance(self._store, StoreServer)

    @property
    def replica(self) -> int | None:
        """The number of the replica that this process is; None where there are no replicas."""
        return self._replica

    def act_as(self, replica_id: int) -> None:
        """Write only as long as this replica is not given up by the others."""
        self._replica = replica_id

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that is committed whole at the end of the block, or not at all.

        Raises StateExpelledError when this replica was given up.
        """
        with self._translated(), self._engine.begin() as connection:
            if self._replica is not None:
                # A heartbeat may pass this lock, to be given up has to wait.
                fence = (
                    select(replica.c.id).where(replica.c.id == self._replica).with_for_update(read=True, key_share=True)
                )
                if connection.execute(fence).first() is None:
                    raise StateExpelledError("lease expired; rejoining")
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; never waits for a writer."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(**self._store.reading)

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the whole database in a new SQLite file."""
        with self._translated():
            self._store.copy_to(path)

    def check(self) -> None:
        """Raise StateCorruptError when what is written now would be lost, as in a file that was removed."""
        self._store.check()

    def give_back(self) -> bool:
        """Return some room that nothing needs to the disk; whether there is more. PostgreSQL does so itself."""
        if not isinstance(self._store, StoreFile):
            return False
        with self._translated():
            return self._store.give_back()

    def close(self) -> None:
        self._engine.dispose()

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self._store)


@contextmanager
def _translated(store: StoreFile | StoreServer) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:  # of a password file
        raise StateError(f"{store.where} cannot be used now: {error}") from error
    except SQLAlchemyError as error:
        raise store.explained(error) from error
