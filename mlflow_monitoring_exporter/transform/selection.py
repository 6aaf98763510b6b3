"""What of MLflow is exported?"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.config.section import PatternFilter
from mlflow_monitoring_exporter.core.patterns import Patterns


class Selected:
    """A choice of experiments and metric keys."""

    def __init__(self, experiments: PatternFilter, metrics: PatternFilter) -> None:
        self._experiments = Patterns(experiments.include), Patterns(experiments.exclude)
        self._metrics = Patterns(metrics.include), Patterns(metrics.exclude)

    def experiment(self, name: str) -> bool:
        include, exclude = self._experiments
        return name in include and name not in exclude

    def metric(self, key: str) -> bool:
        include, exclude = self._metrics
        return key in include and key not in exclude


class Selection(Selected):
    """The operator's choice of experiments, metric keys and run tags."""

    def __init__(self, config: ExportConfig) -> None:
        super().__init__(config.experiments, config.metrics)
        self._tags = Patterns(config.tags)

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Only what is allowed out: run tags hold things like the diff of uncommitted code."""
        return {name: value for name, value in sorted(tags.items()) if name in self._tags}
