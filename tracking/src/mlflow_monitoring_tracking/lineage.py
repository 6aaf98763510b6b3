"""Where data, models and predictions came from: recorded as it happens, in one run of ``lineage`` for each process.

A node is a tag ``lineage.<id>`` of that run, a JSON object with its kind, its name, the ids that it came from, the time
and whatever else was said. What reads it builds the graph.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from typing import Any

from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.times import now_ms
from mlflow_monitoring_tracking.tracker import ExperimentTracker, tracker

EXPERIMENT = "lineage"


class LineageTracker:
    """Records nodes. Every call gives the ids of what it recorded, for the calls about what came of it."""

    def __init__(self, by: ExperimentTracker = tracker) -> None:
        self._tracker = by
        self._run: tuple[int, Run] | None = None
        self._lock = threading.Lock()

    def track_data_ingestion(
        self, *, source_name: str, dataset_name: str, records_count: int | None = None, **fields: Any
    ) -> tuple[str, str]:
        """Data came in: the ids of its source and of the dataset."""
        source = self._node("source", source_name, ())
        data = self._node("dataset", dataset_name, (source,), records_count=records_count, **fields)
        return source, data

    def track_transformation(self, *, input_ids: Any, output_name: str, **fields: Any) -> str:
        """A dataset was made from others: its id."""
        return self._node("dataset", output_name, _ids(input_ids), **fields)

    def track_training(self, *, input_ids: Any, model_name: str, **fields: Any) -> str:
        """A model was trained on datasets: its id."""
        return self._node("model", model_name, _ids(input_ids), **fields)

    def track_prediction(self, *, model_id: str, input_ids: Any = (), name: str = "prediction", **fields: Any) -> str:
        """A model predicted: the id of the prediction."""
        return self._node("prediction", name, (model_id, *_ids(input_ids)), **fields)

    def _node(self, kind: str, name: str, inputs: tuple[str, ...], **fields: Any) -> str:
        node = f"{kind}-{uuid.uuid4().hex[:16]}"
        known = {key: value for key, value in fields.items() if value is not None}
        what = {"kind": kind, "name": name, "inputs": inputs, "at_ms": now_ms(), **known}
        self._recorded_in().set_tag(f"lineage.{node}", json.dumps(what, default=str))
        return node

    def _recorded_in(self) -> Run:
        """The run of this process; a forked child has its own."""
        with self._lock:
            if self._run is None or self._run[0] != os.getpid():
                self._run = os.getpid(), self._tracker.start_run(EXPERIMENT, f"process {os.getpid()}")
            return self._run[1]


def _ids(given: Any) -> tuple[str, ...]:
    """One id, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


lineage_tracker = LineageTracker()
