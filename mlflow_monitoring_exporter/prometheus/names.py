"""What is an MLflow key called in Prometheus?

``val/acc`` and ``val acc`` share the family ``mlflow_val_acc`` and differ in their label ``metric``,
which holds the key as it was logged. So no two keys collide and none is dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from mlflow_monitoring_exporter.core.patterns import capturing
from mlflow_monitoring_exporter.core.sanitised import sanitised
from mlflow_monitoring_exporter.prometheus.families import OURS
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened

#: The family of every key with ``gauges.naming: generic``.
GENERIC = "mlflow_run_metric"

_FIXED = {name.removeprefix("mlflow_") for name in (GENERIC, *(spec.name for spec in OURS))}
#: Families of ours without their ``mlflow_``; a user's key must not land in one. In OpenMetrics a counter's
#: family goes without its ``_total``.
RESERVED = re.compile(
    "|".join(
        ["exporter_.*", "experiment_metric_.*", *sorted(_FIXED | {name.removesuffix("_total") for name in _FIXED})]
    )
)

#: Characters of a run id in a label, as MLflow's own pages shorten it.
SHORT = 8


def family_name(key: str) -> str:
    """``mlflow_<key>``, :func:`sanitised`, and never a name of ours."""
    name = sanitised(key)
    return f"mlflow_metric_{name}" if RESERVED.fullmatch(name) else f"mlflow_{name}"


class Renaming:
    """Other names for the keys that patterns match; the first that fits counts.

    Each ``*`` of a name stands for what the pattern's ``*`` of the same place matched: ``val/*: validation_*``.
    """

    def __init__(self, rename: Mapping[str, str]) -> None:
        self._rename = [(capturing(pattern), name) for pattern, name in rename.items()]

    def __call__(self, key: str) -> str:
        for pattern, name in self._rename:
            if match := pattern.fullmatch(key):
                found = iter(match.groups())
                return "".join(next(found, "") if part == "*" else part for part in re.split(r"(\*)", name))
        return key


class FamilyNames:
    """The family of each key: the generic one, or the key's own, renamed as :class:`Renaming` does."""

    def __init__(self, rename: Mapping[str, str], *, generic: bool, longest: int = OF_SAMPLES) -> None:
        """No name is longer than ``longest``: a scrape's limit for labels counts for names as well."""
        self._longest = longest
        self._generic = generic
        self._rename = Renaming(rename)
        self._known: dict[str, str] = {}

    def __getitem__(self, key: str) -> str:
        if self._generic:
            return GENERIC
        name = self._known.get(key)
        if name is None:
            name = self._known[key] = shortened(family_name(self._rename(key)), self._longest, mark="_")
        return name

    def help(self, keys: Iterable[str]) -> str:
        """What a family of these keys says of itself; the same for every group of the Pushgateway."""
        if self._generic:
            return "Latest value of the MLflow metric that the label metric names as it was logged."
        names = sorted(keys)
        return f"Latest value of the MLflow metric {', '.join(names)}."


def short_run_ids(run_ids: Iterable[str]) -> Mapping[str, str]:
    """Each run id's first eight characters, or as many more as keep it apart from the others."""
    result: dict[str, str] = {}
    waiting, length = sorted(set(run_ids)), SHORT
    while waiting:
        shared = Counter(run_id[:length] for run_id in waiting)
        result |= {r: r[:length] for r in waiting if shared[r[:length]] == 1 or len(r) <= length}
        waiting = [r for r in waiting if r not in result]
        length += 1
    return result
