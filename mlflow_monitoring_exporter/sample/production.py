"""What happens around models in the demo: data pipelines, deployments, and predictions whose data drifts in the middle.

All of it goes into the spool of the tracking library, as programs of people would do it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from mlflow_monitoring_tracking import (
    DataPipelineTracker,
    ExperimentTracker,
    ModelDeploymentTracker,
    ProductionTracker,
    Run,
)
from mlflow_monitoring_tracking.features.baseline import features_of, write_baseline
from mlflow_monitoring_tracking.production import feature_files
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.tracker import WINDOW
from mlflow_monitoring_tracking.production.windows import Windows

MODEL, DEPLOYMENT, VERSION = "churn-classifier", "churn-production", "3"
#: Windows of the past, and predictions in each of them.
_WINDOWS, _EACH = 40, 600
_PLANS = ("basic", "plus", "pro")
#: Seconds between two of what happens once a day or so: MLflow orders runs by the millisecond of their start.
_APART = 0.005


class Production:
    """Of one spool. ``seed`` decides everything but the times; ``window`` is how long live ones are, in seconds."""

    def __init__(self, spool: Path, seed: int, window: float = WINDOW) -> None:
        config = {"spool": {"dir": str(spool)}, "mode": "offline", "auto_log": {"enabled": False}}
        self._rng = Random(seed)
        self._by = ExperimentTracker(config)
        self._place = ProductionDirectory.of(spool)
        self._tracker = ProductionTracker(self._by, window=window)
        self._pending: deque[tuple[float, str, bool]] = deque()

    def write(self) -> int:
        """Everything that has happened by now; how many predictions there were."""
        rows = [self._row(0.0) for _ in range(5000)]
        write_baseline(self._place.baseline(DEPLOYMENT), features_of(rows, [_churns(row) for row in rows]))
        for day in range(3):
            self.pipeline(fails=day == 1)
            time.sleep(_APART)
        deployments = ModelDeploymentTracker(self._by)
        for version, ends in (("1", deployments.succeed), ("2", deployments.fail), (VERSION, deployments.succeed)):
            deployments.start(MODEL, version, version_created_at=time.time() - self._rng.uniform(3_600, 90_000))
            ends(MODEL, version)
            time.sleep(_APART)
            if version == "2":
                deployments.rollback(MODEL, "1", from_version="2", reason="p95 above 1 s")
                time.sleep(_APART)
        return self._windows()

    def pipeline(self, *, fails: bool = False) -> None:
        """One execution of the pipeline that feeds the model."""
        rng, expected = self._rng, 10_000
        with DataPipelineTracker(self._by).start_data_pipeline("daily_customers", "crm", expected) as execution:
            records, errors = expected - rng.randrange(40), rng.randrange(30)
            execution.log_stage("extraction", records, errors, rng.uniform(20, 60))
            execution.log_stage("cleaning", records - errors, errors // 2, rng.uniform(5, 15))
            if not fails:
                execution.log_stage("features", records - errors, 0, rng.uniform(30, 90))
            execution.log_data_quality(
                {
                    "completeness": rng.uniform(0.97, 1),
                    "accuracy": rng.uniform(0.95, 1),
                    "consistency": rng.uniform(0.98, 1),
                }
            )
            execution.complete_pipeline(records - errors, success=not fails)

    def _windows(self) -> int:
        """Ten minutes of predictions that end now, a window at a time."""
        runs: list[Run] = []
        made = self._tracker.start_production_monitoring(MODEL, DEPLOYMENT, version=VERSION)

        def run(served: Served, day: str) -> Run:
            runs.append(self._tracker.run_of_day(served, day))
            return runs[-1]

        windows = Windows(self._place, WINDOW, run)
        last = int(time.time() // WINDOW * WINDOW)
        for number in range(_WINDOWS):
            end_ms = round((last - (_WINDOWS - 1 - number) * WINDOW) * 1000)
            for _ in range(_EACH):
                self._predict(drift=1.0 if _WINDOWS // 3 < number <= 2 * _WINDOWS // 3 else 0.0)
            feature_files.write(self._place.features, end_ms, {made.served: made.take()})
            windows.close(end_ms)
        windows.stop()
        for one in runs:
            one.end()
        return _WINDOWS * _EACH

    def run_live(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Predict until ``stop``, some times a second; the data drifts for five minutes of every fifteen."""
        try:
            self._live(stop, tell)
        finally:
            self._tracker.stop()

    def _live(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        self._tracker.start_production_monitoring(MODEL, DEPLOYMENT, version=VERSION)
        began = told = time.monotonic()
        number = 0
        while not stop.wait(0.2):
            now = time.monotonic()
            drift = 1.0 if 300 < (now - began) % 900 < 600 else 0.0
            for _ in range(self._rng.randint(8, 20)):
                self._predict(drift=drift)
                number += 1
            while self._pending and now - self._pending[0][0] > 30:
                _, prediction_id, actual = self._pending.popleft()
                self._tracker.log_ground_truth(DEPLOYMENT, prediction_id, actual)
            if now - told > 60:
                told = now
                self.pipeline(fails=self._rng.random() < 0.1)
                tell(f"{DEPLOYMENT}: {number} predictions")

    def _predict(self, *, drift: float) -> None:
        rng, row = self._rng, self._row(drift)
        churns = _churns(row)
        prediction_id = self._tracker.log_prediction(
            deployment_id=DEPLOYMENT,
            input_data=row,
            prediction=churns,
            confidence=min(1.0, 0.5 + rng.betavariate(6, 2) / 2),
            latency_ms=rng.lognormvariate(2.5, 0.6),
            error="timeout" if rng.random() < 0.004 else None,
        )
        right = rng.random() < (0.72 if drift else 0.9)
        if rng.random() < 0.2:
            self._pending.append((time.monotonic(), prediction_id, churns if right else not churns))

    def _row(self, drift: float) -> dict[str, Any]:
        """A customer; where data drifts, they are older, pay more, and leave out their age more often."""
        rng = self._rng
        return {
            "age": None if rng.random() < 0.02 + 0.1 * drift else rng.gauss(41 + 12 * drift, 9),
            "monthly_fee": rng.lognormvariate(3.4 + 0.5 * drift, 0.4),
            "months": float(rng.randint(1, 72)),
            "calls": float(min(12, int(rng.expovariate(0.5)))),
            "plan": rng.choice(_PLANS),
        }


def _churns(row: dict[str, Any]) -> bool:
    return bool(row["monthly_fee"] > 35 and row["months"] < 30)
