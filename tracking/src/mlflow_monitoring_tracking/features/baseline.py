"""What production is compared with: statistics of the features that a model was trained on, as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.features.observations import Chosen, Observations
from mlflow_monitoring_tracking.features.statistics import FeatureStatistics
from mlflow_monitoring_tracking.spool.drafts import replace_json


def features_of(
    data: Any, predictions: Iterable[Any] | None = None, *, plain: bool = False
) -> dict[str, FeatureStatistics]:
    """Of all columns of a table of pandas or numpy, or of many rows: dicts, lists, rows of numpy.

    :param predictions: what the model says to each row, so that drift of predictions is seen, too.
    :raises TypeError: it is neither.
    """
    observations = Observations(Chosen(most=10_000, plain=plain))
    said = None if predictions is None else iter(predictions)
    for row in data.to_dict("records") if hasattr(data, "columns") else data:
        observations.add(row, None if said is None else next(said, None))
    return observations.take()


def write_baseline(path: Path, features: Mapping[str, FeatureStatistics]) -> None:
    """Keep statistics for :func:`read_baseline`.

    :raises OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, {"baseline": 1, "features": {name: one.to_json() for name, one in features.items()}})


def read_baseline(path: Path) -> dict[str, FeatureStatistics]:
    """What ``log_baseline`` or a deployment's first predictions left.

    :raises OSError: it cannot be read.
    :raises ValueError: it is something else.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
        return {str(name): FeatureStatistics.of(one) for name, one in said["features"].items()}
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} holds no baseline") from error
