"""SQLite files of schemas 1 to 4, from before there was PostgreSQL, become files of schema 5.

::

    1   the first releases: one poll reads everything
    2   the ledger, and of dead letters when they were first and last tried
    3   incremental polls: standing, tails of series, runs that are there
    4   labels, times of metrics, aliases of the registry
    5   lanes, replicas, experiments by number

There were changes within a schema, too, so what is missing is found by looking at the columns. ``seen``, by far
the largest table, is the same in all of them and stays as it is; the queue and the dead letters only get columns.
What a release did not know yet is worked out from what it did know, or counts as unknown: then the next poll reads
it again, and ``seen`` keeps what was queued from being queued twice.

The tables are written out here: those of state/schema.py go on changing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

#: What a metric says of a run's life, but for those that MLflow logs by itself.
_LAST = "SELECT max(timestamp_ms) FROM series WHERE series.run = run.id AND shown"
_OF_USERS = f"{_LAST} AND substr(key, 1, 7) <> 'system/'"
_WHOSE = (
    "SELECT experiment.id FROM run JOIN experiment ON experiment.server = run.server "
    "AND experiment.experiment_id = run.experiment_id WHERE run.id = series.run"
)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that is made anew: its columns as SQL has them, and what those hold that it did not have before."""

    columns: Mapping[str, str]
    others: Sequence[str]
    fill: Mapping[str, str]


_TABLES = {
    "server": _Table(
        {
            "id": "INTEGER NOT NULL",
            "identity": "TEXT NOT NULL",
            "since_ms": "BIGINT",
            "mark": "TEXT DEFAULT '' NOT NULL",
            "selection": "TEXT DEFAULT '' NOT NULL",
            "round": "INTEGER DEFAULT '0' NOT NULL",
            "load_round": "INTEGER",
            "load_key": "TEXT",
            "load_position": "TEXT",
            "load_since_ms": "BIGINT",
            "load_mark": "TEXT",
            "sweep_round": "INTEGER",
            "sweep_position": "TEXT",
            "recheck_after": "INTEGER DEFAULT '0' NOT NULL",
            "owner": "INTEGER",
        },
        (
            *("PRIMARY KEY (id)", "UNIQUE (identity)"),
            "FOREIGN KEY(owner) REFERENCES replica (id) ON DELETE SET NULL",
        ),
        # A run may carry a newer poll than the last whole one.
        {
            "mark": "''",
            "selection": "''",
            "recheck_after": "0",
            "round": "max(poll, coalesce((SELECT max(poll) FROM run WHERE run.server = server.id), 0))",
        },
    ),
    "experiment": _Table(
        {
            "id": "INTEGER NOT NULL",
            "server": "INTEGER NOT NULL",
            "experiment_id": "TEXT NOT NULL",
            "name": "TEXT NOT NULL",
            "watched": "BOOLEAN NOT NULL",
            "activity_ms": "BIGINT",
            "present": "BOOLEAN NOT NULL",
        },
        ("PRIMARY KEY (id)", "UNIQUE (server, experiment_id)", "FOREIGN KEY(server) REFERENCES server (id)"),
        {"id": "rowid", "watched": "1", "present": "1"},
    ),
    "run": _Table(
        {
            "id": "INTEGER NOT NULL",
            "server": "INTEGER NOT NULL",
            "run_id": "TEXT NOT NULL",
            "experiment_id": "TEXT NOT NULL",
            "name": "TEXT NOT NULL",
            "status": "TEXT NOT NULL",
            "start_ms": "BIGINT",
            "end_ms": "BIGINT",
            "parent_run_id": "TEXT",
            "tags": "TEXT NOT NULL",
            "labels": "TEXT NOT NULL",
            "last_ms": "BIGINT",
            "alive_ms": "BIGINT",
            "gap_ms": "BIGINT",
            "tagged_stage": "TEXT NOT NULL",
            "registry_stage": "TEXT NOT NULL",
            "present": "BOOLEAN NOT NULL",
            "round": "INTEGER NOT NULL",
            "recheck": "BOOLEAN NOT NULL",
        },
        ("PRIMARY KEY (id)", "UNIQUE (server, run_id)", "FOREIGN KEY(server) REFERENCES server (id)"),
        {
            "labels": "'{}'",
            "last_ms": f"({_OF_USERS})",
            "alive_ms": f"({_LAST})",
            "tagged_stage": "model_stage",
            "registry_stage": "''",
            "present": "1",  # the next poll is a load, which hides whom it does not meet
            "round": "poll",
            "recheck": "0",
        },
    ),
    "series": _Table(
        {
            "id": "INTEGER NOT NULL",
            "run": "INTEGER NOT NULL",
            "experiment": "INTEGER NOT NULL",
            "key": "TEXT NOT NULL",
            "step": "BIGINT NOT NULL",
            "timestamp_ms": "BIGINT NOT NULL",
            "value": "FLOAT",
            "mask": "BIGINT NOT NULL",
            "base": "BIGINT NOT NULL",
            "from_step": "BIGINT NOT NULL",
            "pending": "BOOLEAN NOT NULL",
            "shown": "BOOLEAN NOT NULL",
            "revision": "BIGINT NOT NULL",
        },
        (
            *("PRIMARY KEY (id)", "UNIQUE (run, key)"),
            "FOREIGN KEY(run) REFERENCES run (id) ON DELETE CASCADE",
            "FOREIGN KEY(experiment) REFERENCES experiment (id)",
        ),
        {"experiment": f"({_WHOSE})", "base": "0", "from_step": "0", "pending": "1", "shown": "1", "revision": "0"},
    ),
}
#: Tables that no file had before schema 4 or 5.
_NEW = (
    (
        "CREATE TABLE IF NOT EXISTS alias (server INTEGER NOT NULL, model TEXT NOT NULL, alias TEXT NOT NULL, "
        "version INTEGER, changes INTEGER NOT NULL, PRIMARY KEY (server, model, alias), "
        "FOREIGN KEY(server) REFERENCES server (id))"
    ),
    (
        "CREATE TABLE replica (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, "
        "session TEXT NOT NULL, "
        "joined DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL, heartbeat DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL)"
    ),
    (
        "CREATE TABLE lane (exporter INTEGER NOT NULL, lane INTEGER NOT NULL, waiting INTEGER NOT NULL, "
        "turn BIGINT DEFAULT '0' NOT NULL, owner INTEGER, PRIMARY KEY (exporter, lane), "
        "FOREIGN KEY(exporter) REFERENCES exporter (bit), "
        "FOREIGN KEY(owner) REFERENCES replica (id) ON DELETE SET NULL)"
    ),
)
_INDEXES = (
    "CREATE INDEX run_status ON run (server, present, status)",
    "CREATE INDEX run_newest ON run (server, present, start_ms)",
    "CREATE INDEX run_recheck ON run (id) WHERE recheck = 1",
    "CREATE INDEX series_pending ON series (id) WHERE pending = 1",
)
_COUNTERS = (
    *("enqueued", "delivered", "dead_lettered", "purged", "overflowed"),
    *("queued", "queued_batches", "queued_bytes", "dead"),
)
#: The ledger of files that had none: what was queued is ``seen``, what is neither waiting nor dead was delivered.
_LEDGER = (
    (
        "UPDATE exporter SET (queued, queued_batches, queued_bytes) = (SELECT coalesce(sum(samples), 0), count(*), "
        "coalesce(sum(length(payload)), 0) FROM outbox WHERE outbox.exporter = exporter.bit), "
        "dead = (SELECT coalesce(sum(samples), 0) FROM dead_letter WHERE dead_letter.exporter = exporter.bit)"
    ),
    (
        "UPDATE exporter SET dead_lettered = dead, "
        "enqueued = max(queued + dead, (SELECT count(*) FROM seen WHERE seen.mask >> exporter.bit & 1))"
    ),
    "UPDATE exporter SET delivered = enqueued - queued - dead",
)
#: Runs of experiments that had left the selection: those were not kept.
_EXPERIMENTS_OF_RUNS = (
    "INSERT INTO experiment (server, experiment_id, name, watched, present) "
    "SELECT DISTINCT server, experiment_id, '', 0, 0 FROM run WHERE NOT EXISTS (SELECT 1 FROM experiment "
    "WHERE experiment.server = run.server AND experiment.experiment_id = run.experiment_id)"
)


def upgrade(connection: Connection) -> None:
    """Bring a file of an early schema to schema 5, as part of the caller's transaction."""
    run = connection.exec_driver_sql
    _widen_the_queue(connection)
    _widen_the_ledger(connection)
    for statement in _NEW:
        run(statement)
    for name, table in _TABLES.items():
        if name == "series":
            run(_EXPERIMENTS_OF_RUNS)
        _make_anew(connection, name, table)
    for statement in _INDEXES:
        run(statement)


def _widen_the_queue(connection: Connection) -> None:
    run = connection.exec_driver_sql
    if "died_ms" in _columns(connection, "dead_letter"):
        run("ALTER TABLE dead_letter RENAME COLUMN died_ms TO first_ms")
        run("ALTER TABLE dead_letter ADD COLUMN last_ms BIGINT DEFAULT 0 NOT NULL")
        run("ALTER TABLE dead_letter ADD COLUMN status INTEGER")
        run("UPDATE dead_letter SET last_ms = first_ms")
    for table in ("outbox", "dead_letter"):
        run(f"ALTER TABLE {table} ADD COLUMN lane INTEGER DEFAULT 0 NOT NULL")


def _widen_the_ledger(connection: Connection) -> None:
    run = connection.exec_driver_sql
    known = _columns(connection, "exporter")
    if "since_ms" not in known:
        run("ALTER TABLE exporter ADD COLUMN since_ms BIGINT")
    if "enqueued" not in known:
        for name in _COUNTERS:
            run(f"ALTER TABLE exporter ADD COLUMN {name} BIGINT DEFAULT '0' NOT NULL")
        for statement in _LEDGER:
            run(statement)


def _make_anew(connection: Connection, name: str, table: _Table) -> None:
    run = connection.exec_driver_sql
    known = _columns(connection, name)
    columns = ", ".join(f"{column} {kind}" for column, kind in table.columns.items())
    run(f"CREATE TABLE new_{name} ({', '.join((columns, *table.others))})")
    values = [f"{name}.{column}" if column in known else table.fill.get(column, "NULL") for column in table.columns]
    run(f"INSERT INTO new_{name} ({', '.join(table.columns)}) SELECT {', '.join(values)} FROM {name}")  # noqa: S608 - words of ours
    run(f"DROP TABLE {name}")
    run(f"ALTER TABLE new_{name} RENAME TO {name}")


def _columns(connection: Connection, table: str) -> set[str]:
    return {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")}
