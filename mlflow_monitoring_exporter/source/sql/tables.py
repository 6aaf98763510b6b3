"""The part of MLflow's database schema that is read, and whether a store has it."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    select,
)
from sqlalchemy.exc import OperationalError

from mlflow_monitoring_exporter.core.errors import SourceRefusedError

_log = structlog.get_logger(__name__)

#: Schema revisions that this reader was tested with, by ``alembic_version``.
KNOWN_REVISIONS = {
    "dc11669786a5": "MLflow 3.17",
    "f4a9b2c7d1e6": "MLflow 3.18",
}

_metadata = MetaData()

alembic_version = Table("alembic_version", _metadata, Column("version_num", String))
experiments = Table(
    "experiments",
    _metadata,
    Column("experiment_id", Integer),
    Column("name", String),
    Column("lifecycle_stage", String),
    Column("workspace", String),
    Column("creation_time", BigInteger),
)
experiment_tags = Table(
    "experiment_tags",
    _metadata,
    Column("experiment_id", Integer),
    Column("key", String),
    Column("value", String),
)
#: SQLite's own row number, in no schema: a cursor that is cheap for every table. Other databases have none.
_ROWID = "rowid"
runs = Table(
    "runs",
    _metadata,
    Column(_ROWID, Integer),
    Column("run_uuid", String),
    Column("experiment_id", Integer),
    Column("name", String),
    Column("status", String),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("lifecycle_stage", String),
    Column("deleted_time", BigInteger),
    Column("user_id", String),
    Column("artifact_uri", String),
)


def _metric_columns() -> tuple[Column[str | float | int | bool], ...]:
    return (
        Column("run_uuid", String),
        Column("key", String),
        Column("step", BigInteger),
        Column("timestamp", BigInteger),
        Column("value", Float),
        Column("is_nan", Boolean),
    )


metrics = Table("metrics", _metadata, Column(_ROWID, Integer), *_metric_columns())
latest_metrics = Table("latest_metrics", _metadata, *_metric_columns())
tags = Table("tags", _metadata, Column("run_uuid", String), Column("key", String), Column("value", String))
params = Table("params", _metadata, Column("run_uuid", String), Column("key", String), Column("value", String))
model_versions = Table(
    "model_versions",
    _metadata,
    Column("name", String),
    Column("version", Integer),
    Column("run_id", String),
    Column("current_stage", String),
    Column("workspace", String),
)
registered_model_aliases = Table(
    "registered_model_aliases",
    _metadata,
    Column("name", String),
    Column("version", Integer),
    Column("alias", String),
    Column("workspace", String),
)

datasets = Table(
    "datasets",
    _metadata,
    Column("dataset_uuid", String),
    Column("experiment_id", Integer),
    Column("name", String),
    Column("digest", String),
)
inputs = Table(
    "inputs",
    _metadata,
    *(
        Column(name, String)
        for name in ("input_uuid", "source_type", "source_id", "destination_type", "destination_id")
    ),
)
input_tags = Table("input_tags", _metadata, *(Column(name, String) for name in ("input_uuid", "name", "value")))

_NEEDED = (experiments, runs, metrics, latest_metrics, tags, params)
_REGISTRY = (model_versions, registered_model_aliases)
_DATASETS = (datasets, inputs, input_tags)
#: Workspaces came with MLflow 3; older stores have only one. The time of a deletion came with 1.28, that of an
#: experiment's creation with 1.29; user and artifacts are only searched for.
_OPTIONAL = {_ROWID, "workspace", "deleted_time", "creation_time", "user_id", "artifact_uri"}


@dataclass(frozen=True, slots=True)
class Schema:
    """What a store offers beyond the needed tables."""

    revision: str
    workspaces: bool
    registry: bool
    deletion_times: bool
    datasets: bool
    creation_times: bool
    searched: frozenset[str]


def read_schema(connection: Connection, store: str) -> Schema:
    """Raises SourceRefusedError when ``store`` lacks a table or a column that is needed."""
    inspector = inspect(connection)
    present = {name: frozenset[str]() for name in inspector.get_table_names()}
    for table in (*_NEEDED, *_REGISTRY, *_DATASETS):
        if table.name in present:
            present[table.name] = frozenset(column["name"] for column in inspector.get_columns(table.name))

    if experiments.name not in present:
        raise SourceRefusedError(f"{store} is not an MLflow store: it has no table experiments")
    revision = "unknown"
    if alembic_version.name in present:
        revision = _revision(connection) or revision
    if missing := [gap for table in _NEEDED for gap in _gaps(table, present)]:
        raise SourceRefusedError(
            f"{store} has a schema that cannot be read (revision {revision}, without {', '.join(missing)}): "
            "run mlflow db upgrade on it, or read it through mlflow server"
        )
    if revision not in KNOWN_REVISIONS:
        _log.warning(
            "this MLflow schema is not a tested one; everything that is read from it is there",
            store=store,
            revision=revision,
            tested=sorted(KNOWN_REVISIONS),
        )
    return Schema(
        revision=revision,
        workspaces="workspace" in present[experiments.name],
        registry=not any(_gaps(table, present) for table in _REGISTRY),
        deletion_times="deleted_time" in present[runs.name],
        creation_times="creation_time" in present[experiments.name],
        searched=frozenset({"user_id", "artifact_uri"}) & present[runs.name],
        datasets=not any(_gaps(table, present) for table in _DATASETS),
    )


def _revision(connection: Connection) -> str | None:
    try:
        found = connection.scalar(select(alembic_version.c.version_num))
    except OperationalError as error:
        if "decode" not in str(error):  # SQLite keeps any bytes as text
            raise
        found = None
    return found if isinstance(found, str) else None


def _gaps(table: Table, present: dict[str, frozenset[str]]) -> list[str]:
    if table.name not in present:
        return [f"table {table.name}"]
    wanted = {column.name for column in table.columns} - _OPTIONAL
    return [f"{table.name}.{name}" for name in sorted(wanted - present[table.name])]
