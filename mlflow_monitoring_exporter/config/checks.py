"""What only shows when several blocks are seen together."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from mlflow_monitoring_exporter.config.layers import Layer, problem
from mlflow_monitoring_exporter.config.schema import Settings
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig, PatternFilter
from mlflow_monitoring_exporter.errors import ConfigProblem


def check_alerts(settings: Settings, layer: Layer, problems: list[ConfigProblem]) -> None:
    """An alert on what is not exported would never fire, and nobody would know."""
    metrics = settings.export.metrics
    for name, alert in settings.alerts.items():
        of_include, of_exclude = (
            any(fnmatchcase(alert.metric, pattern) for pattern in patterns)
            for patterns in (metrics.include, metrics.exclude)
        )
        if not of_include or of_exclude:
            text = f"{alert.metric} is not exported: export.metrics leaves it out, so this alert would never fire"
            problems.append(problem(layer, ("alerts", name, "metric"), text))


def check_selections(
    settings: Settings, exporters: Mapping[str, ExporterConfig], layer: Layer, problems: list[ConfigProblem]
) -> None:
    """Of gauges is selected by labels, so these must be there."""
    for name, exporter in exporters.items():
        if isinstance(exporter, BatchExporterConfig):
            continue
        chosen = {"experiment_name": exporter.select.experiments, "metric": exporter.select.metrics}
        for label, choice in chosen.items():
            if choice != PatternFilter() and label in settings.gauges.labels.drop:
                text = f"cannot select by the label {label}, which gauges.labels.drop leaves out"
                problems.append(problem(layer, ("exporters", name, "select"), text))


def check_labels(settings: Settings, layer: Layer, problems: list[ConfigProblem]) -> None:
    """No label may be two things."""
    if settings.mlflow.name and "server" in settings.gauges.labels.add:
        text = "is the name of the tracking server's own label, as mlflow has names"
        problems.append(problem(layer, ("gauges", "labels", "add", "server"), text))
