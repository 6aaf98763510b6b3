"""How the tables in PostgreSQL came to be, release by release (Alembic).

A new revision: change state/schema.py, add ``versions/NNNN_what.py``, and raise ``REVISION`` in
state/store_server.py. A test compares the tables that the revisions make with those of the schema.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection


def configuration(connection: Connection | None = None) -> Config:
    """What Alembic needs to know."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> bool:
    """Run what is missing, as part of the caller's transaction; False for tables of a newer release."""
    try:
        command.upgrade(configuration(connection), "head")
    except CommandError:
        return False
    return True
