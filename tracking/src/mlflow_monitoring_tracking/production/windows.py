"""Windows of production, brought to MLflow: one process of the machine, the leader, does it for all.

Each window is in ``window.json`` before it is in its runs, so that the next leader goes on where the last one was. A
run of MLflow takes one day of one version of a deployment, in the experiment ``deployments/<deployment>``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlflow_monitoring_tracking.features.statistics import FeatureStatistics
from mlflow_monitoring_tracking.production import feature_files
from mlflow_monitoring_tracking.production.buckets import CONFIDENCE, LATENCY_MS, quantile
from mlflow_monitoring_tracking.production.drift_watch import DriftWatch
from mlflow_monitoring_tracking.production.families import Served, parts_of
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.processes import fold, totals
from mlflow_monitoring_tracking.production.truth import TruthStore
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.drafts import replace_json

Totals = Mapping[str, Sequence[float]]
#: What was counted in a window, of each version of a deployment.
Changes = Mapping[Served, Mapping[str, Sequence[float]]]
#: Milliseconds without a prediction after which nothing more is recorded of a version.
_SILENT_MS = 3_600_000


class Windows:
    """What the leader does at the end of every window.

    :param start_run: starts the run of a day, or goes on with it: served, day, ``YYYY-MM-DD``.
    """

    def __init__(self, place: ProductionDirectory, seconds: float, start_run: Callable[[Served, str], Run]) -> None:
        self._place = place
        self._ms = round(seconds * 1000)
        self._start_run = start_run
        self._runs: dict[Served, tuple[str, Run]] = {}
        self._drifts: dict[Served, DriftWatch] = {}
        self._active: dict[Served, int] = {}
        self._ended_ms: int | None = None
        self._before: Totals = {}
        self._truth: TruthStore | None = None
        self._past: dict[tuple[Served, str], Run] = {}
        self._resume()

    def close(self, end_ms: int) -> None:
        """The window that ends then is over. Features are those of the window before, which all have written by now.

        A leader that died may have closed it, and all processes wake at its end: what was counted since is of the next.

        :raises OSError: the directory cannot be read or written.
        """
        if self._ended_ms is not None and end_ms <= self._ended_ms:
            return
        fold(self._place.counts)
        now = totals(self._place.counts)
        changes = by_served(now, self._before)
        features = feature_files.take(self._place.features, end_ms - self._ms)
        seconds = max(end_ms - (self._ended_ms or end_ms - self._ms), 1) / 1000
        shown, window = [], []
        for served in self._in_use(changes, features, end_ms):
            seen, more = self._features(served, features.get(served, {}))
            values = {**of_counts(changes.get(served, {}), seconds), **more}
            shown.append([list(served), seen])
            window.append([list(served), values])
        replace_json(self._place.shown, {"at_ms": end_ms, "deployments": shown})
        # Told before it is recorded: who goes on after a death in between records the same again, which is one row.
        said = {"end_ms": end_ms, "totals": now, "values": window}
        replace_json(self._place.window, {**said, "recorded": False})
        self._record(said)
        replace_json(self._place.window, {**said, "recorded": True})
        self._ended_ms, self._before = end_ms, now
        self._join(end_ms)

    def stop(self) -> None:
        """Another process leads from now on."""
        if self._truth is not None:
            self._truth.close()

    def _join(self, end_ms: int) -> None:
        """Truth, which belongs to the windows of its predictions, however long ago they were."""
        if self._truth is None:
            if not self._place.journal.is_dir():
                return
            self._truth = TruthStore(self._place.truth, self._ms)
        self._truth.read(self._place.journal, end_ms)
        windows = self._truth.corrected(end_ms - self._ms)
        for served, at_ms, revision, values in windows:
            # A value of the same instant would be refused by Prometheus: a correction is a millisecond later.
            self._run(served, at_ms).record_at(values, at_ms // self._ms, at_ms + revision)
        self._truth.told(windows)
        for run in self._past.values():
            run.end()
        self._past.clear()
        replace_json(self._place.truth_shown, self._truth.state(end_ms))

    def _features(
        self, served: Served, features: Mapping[str, FeatureStatistics]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
        """What is shown of them, and the metrics of the window."""
        seen = feature_files.values_of(features)
        if served not in self._drifts:
            self._drifts[served] = DriftWatch(self._place.baseline(served.deployment), served)
        watch = self._drifts[served]
        for name, found in watch.window(features).items():
            seen.setdefault(name, {"missing_ratio": 0.0, "count": 0, "quantiles": {}}).update(found)
        changes = {"schema_changes": float(watch.changes)} if features else {}
        return seen, {**changes, **of_features(seen)}

    def _record(self, said: Mapping[str, Any]) -> None:
        end_ms = int(said["end_ms"])
        for served, values in said["values"]:
            self._run(Served(*served), end_ms).record_at(values, -(-end_ms // self._ms), end_ms)

    def _in_use(self, changes: Changes, features: feature_files.Features, now_ms: int) -> list[Served]:
        """What predicted within the last hour; the runs of the others end until they predict again."""
        for served in changes.keys() | features.keys():
            if served in features or any(changes[served].get("outcomes", ())):
                self._active[served] = now_ms
        for served in [known for known, at_ms in self._active.items() if now_ms - at_ms > _SILENT_MS]:
            del self._active[served]
            if (known := self._runs.pop(served, None)) is not None:
                known[1].end()
        return sorted(self._active)

    def _run(self, served: Served, at_ms: int) -> Run:
        day = time.strftime("%Y-%m-%d", time.gmtime(at_ms / 1000))
        known = self._runs.get(served)
        if known is None or known[0] < day:
            if known is not None:
                known[1].end()
            known = self._runs[served] = day, self._start_run(served, day)
        if known[0] == day:
            return known[1]
        if (served, day) not in self._past:  # of a day that is over
            self._past[served, day] = self._start_run(served, day)
        return self._past[served, day]

    def _resume(self) -> None:
        """Go on where the last leader was. What was counted before the first leader is part of the first window."""
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            said = json.loads(self._place.window.read_text("utf-8"))
            if not said["recorded"]:
                self._record(said)
            self._ended_ms, self._before = int(said["end_ms"]), said["totals"]


def by_served(now: Totals, before: Totals) -> dict[Served, dict[str, list[float]]]:
    """What was added between the two, by what it is of: each entry's kind, and the class behind it."""
    found: dict[Served, dict[str, list[float]]] = {}
    for key, numbers in now.items():
        old = [*before.get(key, ()), *[0.0] * len(numbers)]
        what, served, more = parts_of(key)
        added = [number - known for number, known in zip(numbers, old, strict=False)]
        found.setdefault(served, {})["/".join((what, *more))] = added
    return found


def of_counts(added: Mapping[str, Sequence[float]], seconds: float) -> dict[str, float]:
    """The metrics of a window: rates, shares and quantiles; those of values only where there were some."""
    good, bad = added.get("outcomes", (0.0, 0.0))
    predictions = good + bad
    values = {"predictions": predictions, "errors": bad, "predictions_per_second": predictions / seconds}
    if predictions:
        values["error_rate"] = bad / predictions
    for what, bounds, name in (("latency", LATENCY_MS, "latency_ms"), ("confidence", CONFIDENCE, "confidence")):
        *counts, total = added.get(what, (0.0,))
        if sum(counts):
            values[f"{name}_mean"] = total / sum(counts)
            for share in (50, 95, 99):
                values[f"{name}_p{share}"] = quantile(bounds, counts, share / 100) or 0.0
    *scores, score = added.get("score", (0.0,))
    if sum(scores):
        values["score_mean"] = score / sum(scores)
    for name, numbers in added.items():
        if name.startswith("class/") and predictions:
            values[f"class_share/{name.removeprefix('class/')}"] = numbers[0] / predictions
    return values


def of_features(seen: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of a window's features."""
    values = {}
    for name, said in seen.items():
        if said["count"]:
            values[f"feature/{name}/missing_ratio"] = said["missing_ratio"]
        for share, value in said["quantiles"].items():
            values[f"feature/{name}/p{float(share) * 100:.0f}"] = value
        for key in ("mean", "distinct"):
            if key in said:
                values[f"feature/{name}/{key}"] = said[key]
        for method, value in said.get("drift", {}).items():
            values[f"feature/{name}/drift_{method}"] = value
    return values
