"""How differently a model serves groups of people, by metrics that are logged for each group: ``accuracy/women``.

The definitions are those of fairlearn's ``MetricFrame`` between groups: the gap is the largest value minus the
smallest, the ratio the smallest divided by the largest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.analysis.ranking import VerdictOf, judges, values_of
from mlflow_monitoring_exporter.core.directions.direction import Direction, by_words
from mlflow_monitoring_exporter.core.directions.qualifiers import is_split
from mlflow_monitoring_exporter.core.values import Run

#: A sum of parts (loss/box, loss/class) is no metric of groups.
_PARTED = re.compile(r"loss|cost|penalty|grad|lr(?![a-z])", re.IGNORECASE)
_BETWEEN = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class GroupMetric:
    """One metric by group, of one run or of runs that a tag tells apart.

    ``worst`` is the group that is served worst, None where it is not known which values are better.
    """

    run_id: str
    metric: str
    groups: Mapping[str, float]
    gap: float
    ratio: float
    worst: str | None


def group_metrics(
    runs: Sequence[Run], *, verdict_of: VerdictOf = by_words, metrics: Iterable[str] = (), tag: str | None = None
) -> tuple[GroupMetric, ...]:
    """Of each run its metrics named ``metric/group``; with ``tag`` also those of runs whose tag names a group.

    Without ``metrics`` those count whose name says which values are better, and that are no loss of several parts.
    The runs of groups are told apart within their parent, or together where they have none.
    """
    chosen = frozenset(metrics)
    found: list[GroupMetric] = []
    for run in runs:
        by_metric: dict[str, dict[str, float]] = {}
        for key, value in sorted(values_of(run).items()):
            metric, slash, group = key.rpartition("/")
            if slash and metric and math.isfinite(value) and _is_of_groups(metric, group, verdict_of, chosen):
                by_metric.setdefault(metric, {})[group] = value
        found += [_measured(run.run_id, metric, groups, verdict_of) for metric, groups in by_metric.items()]
    if tag is not None:
        found += _by_tag(runs, tag, verdict_of, chosen)
    return tuple(metric for metric in found if len(metric.groups) > 1)


def _by_tag(runs: Sequence[Run], tag: str, verdict_of: VerdictOf, chosen: frozenset[str]) -> Iterable[GroupMetric]:
    by_parent: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        if (group := run.tags.get(tag)) is not None:
            for key, value in values_of(run).items():
                if math.isfinite(value) and (key in chosen or (not chosen and judges(key, verdict_of(key)))):
                    by_parent.setdefault(run.parent_run_id or "", {}).setdefault(key, {})[group] = value
    for parent, by_metric in by_parent.items():
        for metric in sorted(by_metric):
            yield _measured(parent, metric, by_metric[metric], verdict_of)


def _is_of_groups(metric: str, group: str, verdict_of: VerdictOf, chosen: frozenset[str]) -> bool:
    if chosen:
        return metric in chosen
    words = [word for word in _BETWEEN.split(group.lower()) if word]
    is_part = all(map(is_split, words)) or verdict_of(group).direction is not None
    return not is_part and judges(metric, verdict_of(metric)) and not _PARTED.search(metric)


def _measured(run_id: str, metric: str, groups: Mapping[str, float], verdict_of: VerdictOf) -> GroupMetric:
    smallest, largest = min(groups.values()), max(groups.values())
    direction = verdict_of(metric).direction
    worst = None
    if direction is not None:
        worst = (min if direction is Direction.MAX else max)(groups, key=lambda group: groups[group])
    ratio = smallest / largest if largest else math.nan
    return GroupMetric(run_id, metric, dict(groups), largest - smallest, ratio, worst)
