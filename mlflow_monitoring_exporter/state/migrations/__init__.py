"""How the tables came to be, schema by schema (Alembic); the same revisions for PostgreSQL and for SQLite.

::

    PostgreSQL   nothing -> 0001 -> 0006 -> ...      alembic_version says where it is; 0001 is schema 5
    SQLite       schema 1, 2, 3 or 4 -> 5            early.py: before there was PostgreSQL, and Alembic
                 schema 5 -> 0006 -> ...             meta says where it is, where every release has looked for it

A new file is made whole, from state/schema.py. A new revision: change state/schema.py, raise ``SCHEMA_VERSION`` in
it, and add ``versions/NNNN_what.py`` of that number. Tests compare the tables that the revisions make with those of
the schema, in both databases. A revision only adds: replicas of the release before it are at work beside it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mlflow_monitoring_exporter.state.migrations import early
from mlflow_monitoring_exporter.state.schema import FIRST_REVISION, revision_of


def configuration(connection: Connection | None = None) -> Config:
    """What Alembic needs to know."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade_server(connection: Connection) -> None:
    """Run what is missing in PostgreSQL, as part of the caller's transaction."""
    command.upgrade(configuration(connection), "head")


def upgrade_file(connection: Connection, schema: int) -> None:
    """Run what an SQLite file of this schema misses, as part of the caller's transaction.

    Foreign keys must not be enforced: a table that is made anew is dropped first, and would take with it what
    refers to it.
    """
    if schema < FIRST_REVISION:
        early.upgrade(connection)
    scripts = ScriptDirectory.from_config(configuration())
    since = revision_of(max(schema, FIRST_REVISION))
    with Operations.context(MigrationContext.configure(connection)):
        for script in reversed(list(scripts.iterate_revisions("head", since))):
            script.module.upgrade()
