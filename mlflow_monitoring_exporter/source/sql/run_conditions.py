"""A comparison of MLflow's search syntax as a condition on its tables, with the meaning that MLflow gives it.

See ``_get_sqlalchemy_filter_clauses`` in mlflow/store/tracking/sqlalchemy_store.py: a run without the metric,
parameter or tag meets nothing but IS NULL; NaN meets nothing but ``!=``; a run's name is a tag.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    and_,
    cast,
    or_,
    select,
    type_coerce,
)

from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.source.search_filter import Comparison, Entity
from mlflow_monitoring_exporter.source.sql.tables import (
    Schema,
    datasets,
    input_tags,
    inputs,
    latest_metrics,
    params,
    runs,
    tags,
)

_TABLES: dict[Entity, Table] = {Entity.METRIC: latest_metrics, Entity.PARAM: params, Entity.TAG: tags}
_NAME_TAG = "mlflow.runName"
_CONTEXT_TAG = "mlflow.data.context"


def condition_of(comparison: Comparison, connection: Connection, schema: Schema) -> ColumnElement[bool]:
    """For a query of ``runs``. Raises QuestionError for what an old store does not have."""
    entity, key = comparison.entity, comparison.key
    if entity is Entity.ATTRIBUTE and key == "run_name":
        return _of_pairs(Comparison(Entity.TAG, _NAME_TAG, comparison.operator, comparison.value), connection)
    if entity is Entity.ATTRIBUTE:
        if key in {"user_id", "artifact_uri"} and key not in schema.searched:
            raise QuestionError(f"this MLflow store has no {key} of runs")
        column = runs.c["run_uuid" if key == "run_id" else key]
        return _compared(column, comparison, connection)
    if entity is Entity.DATASET:
        if not schema.datasets:
            raise QuestionError("this MLflow store has no datasets; they came with MLflow 2.4")
        return _of_dataset(comparison, connection)
    return _of_pairs(comparison, connection)


def same(column: ColumnElement[Any], text: str, connection: Connection) -> ColumnElement[bool]:
    """``column = text`` where capitals count, which MySQL's ``=`` does not know."""
    if connection.dialect.name == "mysql":
        # The first finds it by an index, the second tells it apart.
        return and_(column == text, _binary(column) == text)
    return column == text


def _of_pairs(comparison: Comparison, connection: Connection) -> ColumnElement[bool]:
    # By another name, because the query around it may be ordered by the same table.
    table = _TABLES[comparison.entity].alias()
    of_run = select(table.c.run_uuid).where(
        table.c.run_uuid == runs.c.run_uuid, same(table.c.key, comparison.key, connection)
    )
    if comparison.operator == "IS NULL":
        return ~of_run.exists()
    if comparison.operator == "IS NOT NULL":
        return of_run.exists()
    met = _compared(table.c.value, comparison, connection)
    if comparison.entity is Entity.METRIC:
        is_nan = type_coerce(table.c.is_nan, Boolean)
        met = or_(met, is_nan.is_(True)) if comparison.operator == "!=" else and_(met, is_nan.is_(False))
    return of_run.where(met).exists()


def _of_dataset(comparison: Comparison, connection: Connection) -> ColumnElement[bool]:
    used = (
        select(inputs.c.input_uuid)
        .join(datasets, datasets.c.dataset_uuid == inputs.c.source_id)
        .where(inputs.c.destination_id == runs.c.run_uuid)
    )
    if comparison.key == "context":
        used = used.join(input_tags, input_tags.c.input_uuid == inputs.c.input_uuid)
        used = used.where(input_tags.c.name == _CONTEXT_TAG, _compared(input_tags.c.value, comparison, connection))
    else:
        used = used.where(_compared(datasets.c[comparison.key], comparison, connection))
    return used.exists()


def _compared(column: ColumnElement[Any], comparison: Comparison, connection: Connection) -> ColumnElement[bool]:
    operator, value = comparison.operator, comparison.value
    exactly = connection.dialect.name == "mysql" and not isinstance(value, float)
    if operator == "ILIKE":
        return column.ilike(value)
    side: Any = _binary(column) if exactly else column
    match operator:
        case "LIKE":
            return side.like(value)  # type: ignore[no-any-return]
        case "IN":
            return side.in_(value)  # type: ignore[no-any-return]
        case "NOT IN":
            return side.not_in(value)  # type: ignore[no-any-return]
        case _:
            return side.op({"!=": "<>"}.get(operator, operator), is_comparison=True)(value)  # type: ignore[no-any-return]


def _binary(column: ColumnElement[Any]) -> Any:
    return type_coerce(cast(column, LargeBinary), column.type)
