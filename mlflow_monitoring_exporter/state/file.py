"""The state file as a file: whose it is, who uses it, and what to do when it is damaged."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from mlflow_monitoring_exporter.errors import StateCorruptError, StateError

_MAGIC = b"SQLite format 3\x00"
#: The database, its write-ahead log, and the index of that.
_SUFFIXES = ("", "-wal", "-shm")


def state_path(url: str) -> Path:
    """The file of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    return Path(url.removeprefix("sqlite:///")).resolve()


def create(path: Path) -> None:
    """Make the file if need be, for its owner alone: batches hold tags and experiment names.

    Raises StateError when it cannot be made or is another kind of file, and StateCorruptError when
    a database begins with nothing but zeros, as a power cut may leave it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            head = os.read(handle, len(_MAGIC))
        finally:
            os.close(handle)
    except OSError as error:
        raise StateError(f"cannot open the state file {path}: {error.strerror}") from error
    if head and not head.strip(b"\x00"):
        raise StateCorruptError(f"the state file {path} is damaged (it begins with zeros)")
    if head and head != _MAGIC:
        raise StateError(f"{path} is not a state file of this program: set state.url to another path, or move it away")
    if head:
        _check_owner(path)


def _check_owner(path: Path) -> None:
    """Read-only: to open it for writing would already change somebody else's database."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        tables = sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        if tables and "meta" not in tables:
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

    Raises StateError when somebody else holds it.
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
