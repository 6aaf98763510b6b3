"""Alembic runs this file. There is always a connection already, in a transaction of its own."""

from __future__ import annotations

from alembic import context

from mlflow_monitoring_exporter.state.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
