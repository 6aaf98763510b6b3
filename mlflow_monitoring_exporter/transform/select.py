"""What of MLflow is exported?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate

from mlflow_monitoring_exporter.config.schema import ExportConfig


class Patterns:
    """Shell-style patterns as one question: does any of them match the whole name?"""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._match = re.compile("|".join(map(translate, patterns)) or r"(?!)").match

    def __contains__(self, name: str) -> bool:
        return self._match(name) is not None


class Selection:
    """The operator's choice of experiments, metric keys and run tags."""

    def __init__(self, config: ExportConfig) -> None:
        self._experiments = Patterns(config.experiments.include), Patterns(config.experiments.exclude)
        self._metrics = Patterns(config.metrics.include), Patterns(config.metrics.exclude)
        self._tags = Patterns(config.tags)

    def experiment(self, name: str) -> bool:
        include, exclude = self._experiments
        return name in include and name not in exclude

    def metric(self, key: str) -> bool:
        include, exclude = self._metrics
        return key in include and key not in exclude

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Only what is allowed out: run tags hold things like the diff of uncommitted code."""
        return {name: value for name, value in sorted(tags.items()) if name in self._tags}
