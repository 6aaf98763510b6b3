"""The store behind an address, and the rows of it that belong to a workspace."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Table

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceRefusedError
from mlflow_monitoring_exporter.source.sql.store import Store
from mlflow_monitoring_exporter.source.sql.store_file import StoreFile
from mlflow_monitoring_exporter.source.sql.store_server import StoreServer
from mlflow_monitoring_exporter.source.sql.tables import Schema

_DEFAULT_WORKSPACE = "default"


def open_store(config: MlflowConfig) -> Store:
    """The file or the database server of ``mlflow.tracking_uri``; nothing can fail before it is read."""
    uri = config.tracking_uri
    return StoreFile(uri, busy_timeout=config.timeout) if uri.startswith("sqlite:") else StoreServer(config)


def in_workspace(workspace: str | None, table: Table, schema: Schema, store: str) -> Sequence[ColumnElement[bool]]:
    """Which rows of ``table`` to read; raises SourceRefusedError for a workspace in a store that has none."""
    if schema.workspaces:
        return [table.c.workspace == (workspace or _DEFAULT_WORKSPACE)]
    if workspace not in (None, _DEFAULT_WORKSPACE):
        raise SourceRefusedError(f"{store} has no workspaces: remove mlflow.workspace")
    return []
