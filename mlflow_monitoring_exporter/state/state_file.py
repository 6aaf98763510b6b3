"""The state file as a file: whose it is, who uses it, and what to do when it is damaged."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mlflow_monitoring_exporter.core.errors import StateCorruptError, StateError
from mlflow_monitoring_exporter.state.schema import metadata
from mlflow_monitoring_exporter.state.sqlite_head import HEAD, Sign, looks_like_sqlite, signs, what_is_wrong

#: Tables that a state file of any schema has.
OURS = frozenset({"meta", "exporter", "outbox", "dead_letter", "series", "seen"})
#: Those of the newest, which has the most.
_TABLES = frozenset({*metadata.tables, "sqlite_sequence"})
#: The database, its write-ahead log, and the index of that.
_SUFFIXES = ("", "-wal", "-shm")


def state_path(url: str) -> Path:
    """The file of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    return Path(url.removeprefix("sqlite:///")).resolve()


def create(path: Path) -> bool:
    """Make the file if need be, for its owner alone: batches hold tags and experiment names. Whether it is empty.

    Raises StateError when it cannot be made, and as :func:`look_at` does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StateError(f"cannot open the state file {path}: {error.strerror}") from error
    look_at(path)
    return path.stat().st_size == 0


def look_at(path: Path) -> None:
    """Raise StateError for a foreign file, and StateCorruptError for one of ours that is damaged.

    Read-only: to open it for writing would already change a foreign database. Nothing is said of
    damage that the head of the file does not show.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise StateError(f"cannot open the state file {path}: {error.strerror}") from error
    wrong = what_is_wrong(head) if head else None
    if wrong is not None:
        _blame(path, head, wrong)
    elif head:
        _check_tables(path)
    elif (log := path.with_name(f"{path.name}-wal")).exists() and log.stat().st_size:
        raise StateCorruptError(f"the state file {path} is damaged (it is empty, and its write-ahead log is not)")


def _blame(path: Path, head: bytes, wrong: str) -> None:
    """A file that is not a database that SQLite can read: is it a damaged state file, or a foreign file?"""
    whose = signs(path, _TABLES)
    if whose is Sign.NONE and (looks_like_sqlite(head) or not head.strip(b"\x00")):
        whose = Sign.OURS  # it is next to nothing, or was cut off behind its head
    if whose is Sign.OURS:
        raise StateCorruptError(f"the state file {path} is damaged ({wrong})")
    raise StateError(f"{path} is not a state file of this program: set state.url to another path, or move it away")


def _check_tables(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            tables = sorted(
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            )
    except sqlite3.OperationalError:
        return  # in use, or out of reach: who opens it will say so
    except sqlite3.DatabaseError as error:
        if signs(path, _TABLES) is Sign.FOREIGN:
            raise StateError(
                f"{path} is another program's database, and damaged ({error}): set state.url to another path"
            ) from error
        raise StateCorruptError(f"the state file {path} is damaged ({error})") from error
    if tables and not OURS.issubset(tables):
        raise StateError(
            f"{path} is another program's database (it has a table {tables[0]}): set state.url to another path"
        )


def set_aside(path: Path) -> Path:
    """Rename a damaged database, so that a new one can begin; its new name.

    Raises StateError when that is not possible.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        for suffix in _SUFFIXES:
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StateError(f"cannot move the damaged state file {path} aside: {error.strerror}") from error
    return aside


class StateLock:
    """One daemon, or one export, at a time. Held from construction until :meth:`release` or death.

    Raises StateError when another process holds it.
    """

    def __init__(self, path: Path) -> None:
        lock = path.with_name(f"{path.name}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StateError(f"cannot open {lock}: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._handle, 32).decode("ascii", "replace").strip()
            os.close(self._handle)
            raise StateError(
                f"the state file {path} is in use by process {owner or '?'}: "
                "stop that one, or give this one a state.url of its own"
            ) from None
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._handle)
