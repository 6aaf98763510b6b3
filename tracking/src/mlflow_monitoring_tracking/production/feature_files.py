"""Features of one window, in a file of each process; and what was last known of them, for who shows it."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.features.statistics import FeatureStatistics, merged
from mlflow_monitoring_tracking.production.families import Family, Served
from mlflow_monitoring_tracking.spool.drafts import replace_json

#: By the deployment, its model and version: each feature's statistics.
Features = dict[Served, dict[str, FeatureStatistics]]
#: Quantiles of numbers that are shown.
QUANTILES = (0.05, 0.5, 0.95)
#: Milliseconds after which what was shown last is shown no more.
_HOLDS = 300_000

#: Milliseconds after which features say nothing of now: they waited for a leader for too long.
_OLDEST_MS = 3_600_000


def write(directory: Path, end_ms: int, features: Features) -> None:
    """What this process saw in the window that ended then.

    :raises OSError: it cannot be written.
    """
    said = [[list(served), {name: one.to_json() for name, one in seen.items()}] for served, seen in features.items()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_json(directory / f"{end_ms}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json", said)


def take(directory: Path, until_ms: int) -> Features:
    """What all processes wrote of windows up to then, added; the files are removed. One that is no such file, too."""
    found: Features = {}
    for path in sorted(directory.glob("*.json")):
        end = path.name.partition("-")[0]
        if not end.isdecimal() or int(end) > until_ms:
            continue
        try:
            for served, seen in _read(path) if int(end) > until_ms - _OLDEST_MS else ():
                found[served] = merged([found.get(served, {}), seen])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            event("value_skipped", logging.WARNING, path=path, reason=f"features cannot be read: {error}")
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return found


def _read(path: Path) -> Iterator[tuple[Served, dict[str, FeatureStatistics]]]:
    for (deployment, model, version), seen in json.loads(path.read_text("utf-8")):
        yield Served(deployment, model, version), {name: FeatureStatistics.of(said) for name, said in seen.items()}


def values_of(features: Mapping[str, FeatureStatistics]) -> dict[str, dict[str, Any]]:
    """What is shown of each feature: shares, counts and quantiles."""
    found = {}
    for name, one in features.items():
        quantiles = {str(share): value for share in QUANTILES if (value := one.quantile(share)) is not None}
        found[name] = {"missing_ratio": one.missing_ratio, "count": one.count, "quantiles": quantiles}
        known = {"mean": one.mean, "distinct": one.distinct_values()}
        found[name].update({key: value for key, value in known.items() if value is not None})
    return found


def shown(path: Path, now_ms: int) -> list[Family]:
    """The families of features and drift as they were last; none once that is five minutes old."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        said = json.loads(path.read_text("utf-8"))
        if now_ms - said["at_ms"] < _HOLDS:
            return _families(said["deployments"])
    return []


def _families(deployments: list[Any]) -> list[Family]:
    quantiles = Family("mlflow_deployment_feature_quantile", "Quantile of a feature in the last window.", "gauge")
    missing = Family(
        "mlflow_deployment_feature_missing_ratio", "Share of a feature's values that are None or NaN.", "gauge"
    )
    distinct = Family(
        "mlflow_deployment_feature_distinct", "Different values of a feature in the last window.", "gauge"
    )
    score = Family(
        "mlflow_deployment_feature_drift_score", "How far a feature is from its baseline, by method.", "gauge"
    )
    samples = Family(
        "mlflow_deployment_feature_drift_samples", "Values of a feature that its drift was found in.", "gauge"
    )
    for served, features in deployments:
        of = Served(*served)
        for name, said in sorted(features.items()):
            if said["count"]:  # else only its drift is known, of earlier windows
                missing.add(of, said["missing_ratio"], feature=name)
            for share, value in said["quantiles"].items():
                quantiles.add(of, value, feature=name, quantile=share)
            if "distinct" in said:
                distinct.add(of, said["distinct"], feature=name)
            for method, value in said.get("drift", {}).items():
                score.add(of, value, feature=name, method=method)
            if said.get("drift"):
                samples.add(of, said["drift_samples"], feature=name)
    return [family for family in (quantiles, missing, distinct, score, samples) if family.samples]
