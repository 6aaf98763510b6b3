"""Points of several runs in one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import shown
from mlflow_monitoring_exporter.source.rest.runs import field

#: Points as they came, by run.
Records = dict[str, list[Any]]


def by_run(found: Iterable[Any], key: str, run_ids: Sequence[str], on_skipped: decode.OnSkipped) -> Records:
    """The points of each of these runs; ``on_skipped`` hears of those that belong to no run that was asked for."""
    runs: Records = {run_id: [] for run_id in run_ids}
    for record in found:
        run_id = field(record, "run_id")
        if isinstance(run_id, str) and run_id in runs:
            runs[run_id].append(record)
        else:
            on_skipped(f"a point of metric '{shown(key)}'", "it belongs to none of the runs asked for")
    return runs


def step_of(record: Mapping[str, Any]) -> int:
    """The step of a point; 0 when it has none, or none that can be read."""
    step = record.get("step", 0)
    if type(step) is int:
        return step
    try:
        return decode.integer(step, "its step")
    except decode.MalformedError:
        return 0
