"""Payloads to try an exporter with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.values import Batch, Family, RunContext, Sample, Series, Snapshot

_RUN = RunContext(
    server="http://mlflow:5000",
    experiment_id="1",
    experiment_name="churn-classifier",
    run_id="0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    run_name="brave-fox-7",
    tags={"owner": "chen", "stage": "dev"},
)
_ODD_RUN = RunContext(
    server="http://mlflow:5000",
    experiment_id="2",
    experiment_name='an "odd", name = with\\ all|kinds#of:\nthings \U0001f98a',
    run_id="f9e8d7c6b5a4938271605f4e3d2c1b0a",
    run_name="",
    tags={"owner": "", "a b": "ä,ö=ü"},
    parent_run_id=_RUN.run_id,
    root_run_id=_RUN.run_id,
)


def make_batch(count: int = 3, *, key: str = "val/loss", batch_id: str = "5f0c9a2e7b1d4c3f8e6a0b9d2c4e6f81") -> Batch:
    """``count`` points of one run that were logged just now, a second apart."""
    now = now_ms()
    samples = [Sample(_RUN, key, step, now - 1000 * (count - step), step / 4) for step in range(count)]
    return Batch(batch_id, now, samples)


def make_odd_batches() -> Sequence[Batch]:
    """Everything that MLflow may hold and that is hard to carry, each in a batch of its own."""
    now = now_ms()
    odd = [
        Sample(_ODD_RUN, "val acc:top-5", 0, now, 0.5),
        Sample(_RUN, "nan", 1, now, math.nan),
        Sample(_RUN, "up", 1, now, math.inf),
        Sample(_RUN, "down", 1, now, -math.inf),
        Sample(_RUN, "small", 1, now, 5e-324),
        Sample(_RUN, "step", -(2**63), now, -0.0),
        Sample(_RUN, "step", 2**63 - 1, now, 1e308),
        Sample(_RUN, "past", 1, 0, 1.0),
        Sample(_RUN, "before", 1, -1, 1.0),
        Sample(_RUN, "future", 1, now + 10**10, 1.0),
        Sample(_RUN, "end", 1, 2**53, 1.0),
        Sample(_RUN, "größe/日本", 1, now, 1.0),
    ]
    return [Batch(f"{number:032x}", now, [sample]) for number, sample in enumerate(odd)]


def make_snapshot(*, loss: float = 0.25, accuracy: float = 0.75) -> Snapshot:
    """The gauges of two experiments with a run each; the second has odd names, and values that are not finite."""
    labels = ("experiment_name", "run_id", "model_stage", "metric")
    groups = {}
    for run, values in ((_RUN, (loss, accuracy)), (_ODD_RUN, (math.nan, -math.inf))):
        of_run = (run.experiment_name, run.run_id[:8], "")
        groups[run.experiment_id] = tuple(
            Family(f"mlflow_{key}", f"Latest value of the MLflow metric {key}.", "gauge", labels, (series,))
            for key, series in (
                ("accuracy", Series((*of_run, "accuracy"), values[1])),
                ("loss", Series((*of_run, "loss"), values[0])),
            )
        )
    return Snapshot(groups)
