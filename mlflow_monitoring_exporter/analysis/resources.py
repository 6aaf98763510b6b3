"""What runs cost: time, processors, memory and the size of what came of them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from statistics import fmean

from mlflow_monitoring_exporter.analysis.curves import Curves
from mlflow_monitoring_exporter.analysis.ranking import values_of
from mlflow_monitoring_exporter.core.values import Run

#: Of MLflow's system metrics (mlflow/system_metrics), by what they say.
_CPU = re.compile(r"system/cpu_utilization_percentage$")
_MEMORY = re.compile(r"system/system_memory_usage_megabytes$")
_GPU = re.compile(r"system/gpu_\d+_utilization_percentage$")
_GPU_MEMORY = re.compile(r"system/gpu_\d+_memory_usage_megabytes$")
_SIZE = re.compile(r"(?i)(?:^|[/_. ])model_size(?:_(bytes|kb|mb|gb))?$")
_UNITS = {"bytes": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}
_MODELS_TAG = "mlflow.log-model.history"


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one run: seconds, mean per cent of processors and cards, the most megabytes of memory, bytes of the model.

    None where MLflow does not know.
    """

    run_id: str
    duration_seconds: float | None = None
    cpu_percent: float | None = None
    memory_megabytes: float | None = None
    gpu_percent: float | None = None
    gpu_memory_megabytes: float | None = None
    model_bytes: float | None = None


def resource_keys(run: Run) -> list[str]:
    """The metrics of a run whose curves say what it cost."""
    wanted = (_CPU, _MEMORY, _GPU, _GPU_MEMORY)
    return [point.key for point in run.latest if any(pattern.match(point.key) for pattern in wanted)]


def resources_of(run: Run, curves: Curves) -> Resources:
    """From the curves, or from the latest values where a curve was not read."""

    def values(pattern: re.Pattern[str]) -> list[list[float]]:
        found = []
        for point in run.latest:
            if pattern.match(point.key):
                curve = curves.get((run.run_id, point.key))
                each = [point.value] if curve is None else curve.values
                if finite := [value for value in each if math.isfinite(value)]:
                    found.append(finite)
        return found

    def mean(pattern: re.Pattern[str]) -> float | None:
        found = values(pattern)
        return fmean(fmean(curve) for curve in found) if found else None

    def most(pattern: re.Pattern[str]) -> float | None:
        found = values(pattern)
        return sum(max(curve) for curve in found) if found else None

    return Resources(
        run.run_id, duration_seconds(run), mean(_CPU), most(_MEMORY), mean(_GPU), most(_GPU_MEMORY), _model_bytes(run)
    )


def duration_seconds(run: Run) -> float | None:
    """Of a run that has ended; None for one without its times, or whose times are the wrong way round."""
    if run.start_ms is None or run.end_ms is None or not run.status.terminal or run.end_ms < run.start_ms:
        return None
    return (run.end_ms - run.start_ms) / 1000


def _model_bytes(run: Run) -> float | None:
    for key, value in values_of(run).items():
        if (match := _SIZE.search(key)) and math.isfinite(value):
            return value * _UNITS[(match[1] or "bytes").lower()]
    try:
        logged = json.loads(run.tags.get(_MODELS_TAG, "[]"))
        sizes = [model["model_size_bytes"] for model in logged if model.get("model_size_bytes") is not None]
        return float(sum(sizes)) if sizes else None
    except (ValueError, TypeError, AttributeError):  # a tag is whatever someone wrote into it
        return None
