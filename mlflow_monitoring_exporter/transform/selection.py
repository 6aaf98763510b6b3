"""What of MLflow is exported?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.config.section import PatternFilter
from mlflow_monitoring_exporter.core.patterns import Patterns

#: Names of which it is remembered whether they are chosen: keys occur once for each run.
_MANY = 10_000


class Selected:
    """A choice of experiments and metric keys: ``experiment(name)`` and ``metric(key)`` say whether it is chosen."""

    def __init__(self, experiments: PatternFilter, metrics: PatternFilter) -> None:
        self.experiment = _choice(experiments)
        self.metric = _choice(metrics)


def _choice(of: PatternFilter) -> Callable[[str], bool]:
    include, exclude = Patterns(of.include), Patterns(of.exclude)
    return lru_cache(_MANY)(lambda name: name in include and name not in exclude)


class Selection(Selected):
    """The operator's choice of experiments, metric keys and run tags."""

    def __init__(self, config: ExportConfig) -> None:
        super().__init__(config.experiments, config.metrics)
        self._tags = Patterns(config.tags)

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Only what is allowed out: run tags hold things like the diff of uncommitted code."""
        return {name: value for name, value in sorted(tags.items()) if name in self._tags}
