"""Which release wrote a state, and what is said of one that another release wrote.

The table ``meta`` holds the release that opened the state last, for people. What decides is the schema: ``meta``
says which it is in a file, Alembic's own table in PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, meta
from mlflow_monitoring_exporter.state.statements import insert

_KEY = "release"
#: The release that did not say so.
_SILENT = "0.1.0"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A state was brought up to date: from which schema, and which release had written it."""

    schema: int
    release: str

    def __str__(self) -> str:
        return f"state upgraded from schema {self.schema} ({self.release}) to {SCHEMA_VERSION}"


def written_by(tx: Connection) -> str:
    """The release that opened this state last."""
    return tx.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar() or _SILENT


def sign(tx: Connection) -> None:
    """Write down that this release has opened the state."""
    if tx.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar() == __version__:
        return
    statement = insert(tx, meta).values(key=_KEY, value=__version__)
    tx.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": __version__}))


def too_new(where: str, schema: int | str, release: str) -> StateError:
    """What to do with a state whose schema this release does not know."""
    return StateError(
        f"{where} was written by release {release} (schema {schema}); this is {__version__}, which knows schemas up to "
        f"{SCHEMA_VERSION}: use release {release} or newer, or the copy of the state from before the upgrade, or "
        "another state.url to start afresh"
    )


def too_old(where: str, schema: int, release: str) -> StateError:
    """What to do with a state that a command of this release must not upgrade."""
    return StateError(
        f"{where} was written by release {release} (schema {schema}, this is {__version__} with schema "
        f"{SCHEMA_VERSION}): continuous and export-once of this release upgrade it; until then use commands of "
        f"release {release}"
    )
