"""The tables. Their names begin with ``tracking_``, because MLflow's own, which may be beside them, are called runs,
params and tags.

::

    tracking_runs        one row for each run key
    tracking_params      the last value of each parameter
    tracking_tags        the last value of each tag
    tracking_points      every value of every metric
    tracking_artifacts   what files there are, with their checksums; not what is in them

A point is unique by key, step, time and the bits of its value, as in MLflow: so a batch may come twice, in other
company and from another sender, and no row does. A place in a spool would not do, since a spool that was copied has
other places. ``value`` is NULL for NaN, which SQLite cannot store and PostgreSQL calls greater than every number;
``bits`` tells one from the other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from mlflow_monitoring_tracking.backends.contract import Unavailable

#: The version of the tables. One more with every change, and a step that makes it of the one before.
VERSION = 1
#: Any number, the same for all who make the tables in one PostgreSQL.
_LOCK = 0x74726163

metadata = MetaData()
_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in a column of this type

version = Table("tracking_schema", metadata, Column("version", Integer, primary_key=True))
runs = Table(
    "tracking_runs",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("run_key", Text, nullable=False, unique=True),
    Column("experiment", Text, nullable=False, index=True),
    Column("name", Text),
    Column("description", Text),
    Column("parent_key", Text, index=True),
    Column("status", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
    Column("host", Text, nullable=False),
    Column("library", Text, nullable=False),
)


def _of_run() -> Column[int]:
    return Column("run_id", _BIG, ForeignKey(runs.c.id, ondelete="CASCADE"), primary_key=True)


params = Table(
    "tracking_params", metadata, _of_run(), Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
)
tags = Table(
    "tracking_tags", metadata, _of_run(), Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
)
points = Table(
    "tracking_points",
    metadata,
    _of_run(),
    Column("key", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True),  # 0 where there was none, as in MLflow
    Column("time_ms", BigInteger, primary_key=True),
    Column("bits", BigInteger, primary_key=True),
    Column("value", Double),
)
artifacts = Table(
    "tracking_artifacts",
    metadata,
    _of_run(),
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text),
)


def prepare(connection: Connection) -> None:
    """Make the tables, unless they are there.

    :raises Unavailable: they are of a later release.
    """
    if connection.dialect.name == "postgresql":  # two processes that make one table at once fail
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    metadata.create_all(connection)
    newest = select(version.c.version).order_by(version.c.version.desc()).limit(1)
    if connection.scalar(newest) is None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        # SQLite has no such lock, and another process may have been faster.
        connection.execute(dialect.insert(version).on_conflict_do_nothing(), {"version": VERSION})
    if (found := connection.scalar(newest)) is not None and found > VERSION:
        raise Unavailable(f"the tables have version {found}, this release writes {VERSION}; install a later one", 60.0)
