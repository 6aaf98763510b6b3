"""Everything that an exporter of another package imports.

What is named here keeps its meaning from release to release; other modules may change with any of them.
``docs/how-to/write-an-exporter.md`` shows two whole exporters, and :mod:`mlflow_monitoring_exporter.testing` is the
suite that tests them.
"""

from mlflow_monitoring_exporter.config.fields import Duration, DurationOrZero, HttpUrl, Size
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig, Secret
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    ConfigProblem,
    ExportError,
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import (
    Batch,
    Demand,
    Family,
    RunContext,
    Sample,
    Series,
    Snapshot,
    nonfinite_name,
)
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, DeliveryMode, Exporter, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp, Endpoint, HttpSettings
from mlflow_monitoring_exporter.http import Credentials, HttpResponse, display_url

__all__ = [
    "CONTRACT",
    "AuthenticatedHttp",
    "Batch",
    "BatchExporterConfig",
    "ConfigError",
    "ConfigProblem",
    "Credentials",
    "Deadline",
    "DeliveryMode",
    "Demand",
    "Duration",
    "DurationOrZero",
    "Endpoint",
    "ExportError",
    "Exporter",
    "ExporterConfig",
    "ExporterPlugin",
    "Family",
    "HttpResponse",
    "HttpSettings",
    "HttpUrl",
    "PartialExportError",
    "PermanentExportError",
    "RetryableExportError",
    "RunContext",
    "Sample",
    "Secret",
    "Series",
    "Size",
    "Snapshot",
    "UnauthorizedExportError",
    "display_url",
    "nonfinite_name",
]
