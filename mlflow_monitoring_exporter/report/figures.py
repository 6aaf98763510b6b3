"""Which pictures an experiment has."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mlflow_monitoring_exporter.analysis.report import ExperimentReport
from mlflow_monitoring_exporter.report.charts import Figure, curves, importance, timeline
from mlflow_monitoring_exporter.report.many_axes import parallel_coordinates, scatter_matrix


def figures_of(experiment: ExperimentReport) -> Iterable[Figure]:
    """All pictures of an experiment for which there is anything to draw."""
    ranking = experiment.ranking
    if ranking is None:
        return
    if any(v.value is not None and v.start_ms is not None and math.isfinite(v.value) for v in experiment.values):
        yield timeline(experiment, ranking)
    if experiment.curves:
        yield curves(experiment.curves, ranking)
    for figure in (parallel_coordinates(experiment.newest, ranking), scatter_matrix(experiment.newest, ranking)):
        if figure is not None:
            yield figure
    if experiment.importance is not None:
        yield importance(experiment.importance)
