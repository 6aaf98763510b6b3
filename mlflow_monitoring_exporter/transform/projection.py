"""What one exporter gets of everything that is exported: selected, thinned out, renamed.

::

    exporters:
      archive: {type: file}                                        # everything
      hosted:
        type: otlp
        select: {experiments: {include: [prod-*]}, metrics: {exclude: [system/*]}}
        rename: {val/*: validation_*}
        sample: {lttb: 500}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from mlflow_monitoring_exporter.config.section import BatchExporterConfig, SelectConfig
from mlflow_monitoring_exporter.core.sample_columns import GrowingColumns
from mlflow_monitoring_exporter.core.values import Family, Point, RunContext, Snapshot
from mlflow_monitoring_exporter.prometheus.names import Renaming
from mlflow_monitoring_exporter.transform.downsample import every, lttb
from mlflow_monitoring_exporter.transform.selection import Selected
from mlflow_monitoring_exporter.transform.snapshot_mapping import SnapshotMapping

_ORDER = itemgetter(1, 2)
"""Step and time of a point."""


def _fingerprint(config: SelectConfig) -> str:
    """The same for two that select the same; empty for everything."""
    return "" if config == SelectConfig() else config.model_dump_json()


class SampleProjection:
    """What an exporter gets that receives every sample."""

    def __init__(self, config: BatchExporterConfig = BatchExporterConfig(type="any")) -> None:  # noqa: B008 - frozen
        """Everything as it is, unless ``config`` says otherwise."""
        self._selected = Selected(config.select.experiments, config.select.metrics)
        self._sample = config.sample
        self._rename = Renaming(config.rename)
        self.selection = _fingerprint(config.select)

    def wants(self, experiment_name: str, key: str) -> bool:
        """Whether it gets anything of a series."""
        return self._selected.experiment(experiment_name) and self._selected.metric(key)

    def add_to(self, columns: GrowingColumns, run: RunContext, points: Sequence[Point], *, of: int) -> None:
        """Points of one series as samples, in the order of their steps and times.

        They are a part of a history of about ``of`` points.
        """
        if not points:
            return
        if len(points) > 1:
            points = sorted(points, key=_ORDER)
        if self._sample.every is not None:
            points = every(points, self._sample.every)
        elif self._sample.lttb is not None:
            share = len(points) / max(of, len(points), 1)
            points = lttb(points, max(2, round(self._sample.lttb * share)))
        if points:
            columns.add(run, self._rename(points[0].key), points)


class SnapshotProjection:
    """What an exporter gets of a snapshot; families that stay stay the same objects."""

    def __init__(self, config: SelectConfig) -> None:
        self._selected = Selected(config.experiments, config.metrics)
        self._parts = SnapshotMapping(self._part) if _fingerprint(config) else None
        self._originals: Mapping[str, str] = {}

    def of(self, snapshot: Snapshot) -> Snapshot:
        """The same object for the same snapshot."""
        if self._parts is None:
            return snapshot
        self._originals = snapshot.originals
        return self._parts.of(snapshot)

    def _part(self, family: Family) -> Family | None:
        """What is selected of a family; one that says nothing of experiments or keys is for everybody."""
        tests = [
            (family.labels.index(label), test)
            for label, test in (("experiment_name", self._selected.experiment), ("metric", self._selected.metric))
            if label in family.labels
        ]
        whole = self._originals  # patterns are of names as they are, however they are shown
        series = tuple(
            s for s in family.series if all(test(whole.get(s.labels[at], s.labels[at])) for at, test in tests)
        )
        if len(series) == len(family.series):
            return family
        return family._replace(series=series) if series else None
