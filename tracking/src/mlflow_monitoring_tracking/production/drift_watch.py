"""Drift of every deployment: its baseline, and windows that are put together until they are enough to say something."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.features.baseline import read_baseline, write_baseline
from mlflow_monitoring_tracking.features.statistics import FeatureStatistics, merged
from mlflow_monitoring_tracking.production.drift import LEAST, drift
from mlflow_monitoring_tracking.production.families import Served

#: Predictions whose features are the baseline of a deployment that was given none.
FIRST = 5000
#: Windows that are put together at most, for a deployment that sees little.
_LONGEST = 240


class DriftWatch:
    """What the leader knows of the drift of one deployment.

    :param path: where its baseline is kept, so that the next leader has the same one.
    """

    def __init__(self, path: Path, served: Served) -> None:
        self._path = path
        self._served = served
        self._baseline = self._load()
        self._first: dict[str, FeatureStatistics] = {}
        self._pending: dict[str, FeatureStatistics] = {}
        self._windows = 0
        self._last: dict[str, dict[str, Any]] = {}
        self._told: set[str] = set()

    def _load(self) -> dict[str, FeatureStatistics] | None:
        try:
            return read_baseline(self._path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            event("value_skipped", logging.WARNING, path=self._path, reason=f"the baseline cannot be read: {error}")
            return None

    def window(self, features: Mapping[str, FeatureStatistics]) -> dict[str, dict[str, Any]]:
        """One window more: ``drift`` by method and ``drift_samples`` of each feature, as they are known now."""
        if self._baseline is None:
            self._collect(features)
            return {}
        self._schema(features)
        self._windows += 1
        self._pending = merged([self._pending, features])
        counts = [one.count for one in self._pending.values()]
        if (counts and max(counts) >= LEAST) or self._windows >= _LONGEST:
            self._last = {}
            for name, seen in self._pending.items():
                if (expected := self._baseline.get(name)) is not None and (scores := drift(expected, seen)):
                    self._last[name] = {"drift": scores, "drift_samples": seen.count}
            self._pending, self._windows = {}, 0
        return self._last

    def _collect(self, features: Mapping[str, FeatureStatistics]) -> None:
        """The first predictions are the baseline, once they are enough."""
        self._first = merged([self._first, features])
        if max((one.count for one in self._first.values()), default=0) >= FIRST:
            self._baseline, self._first = self._first, {}
            with suppress(OSError):  # the next leader makes another one
                write_baseline(self._path, self._baseline)

    def _schema(self, features: Mapping[str, FeatureStatistics]) -> None:
        """Tell, once each, of columns that are new, missing, or of another kind."""
        baseline = self._baseline or {}
        changes = [f"{name} is new" for name in features.keys() - baseline.keys()]
        if features:
            changes += [f"{name} is missing" for name in baseline.keys() - features.keys()]
        for name in features.keys() & baseline.keys():
            kinds = baseline[name].kind, features[name].kind
            if None not in kinds and kinds[0] != kinds[1]:
                changes.append(f"{name} is a {kinds[1]} and was a {kinds[0]}")
        for change in sorted(set(changes) - self._told):
            event("schema_changed", logging.WARNING, deployment=self._served.deployment, reason=change)
        self._told = set(changes)

    @property
    def changes(self) -> int:
        """How many columns are new, missing, or of another kind in the last window."""
        return len(self._told)
