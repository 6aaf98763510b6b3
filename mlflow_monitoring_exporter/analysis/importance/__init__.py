"""Which parameters a metric depends on, and by how much."""

from mlflow_monitoring_exporter.analysis.importance.importance import (
    Importance,
    Method,
    ParamImportance,
    param_importance,
)

__all__ = ["Importance", "Method", "ParamImportance", "param_importance"]
