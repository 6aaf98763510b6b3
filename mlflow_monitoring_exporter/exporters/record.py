"""A sample as JSON sinks see it: one record, the same in every sink.

The shape is the contract of docs/pramathus.openapi.yaml.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_monitoring_exporter.model import Sample, nonfinite_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_utc(timestamp_ms: int) -> str:
    """``2026-11-21T08:15:30.250Z``. A time that the calendar cannot hold becomes its nearest end."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)  # exact; a float of seconds is not, far from now
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC) if timestamp_ms > 0 else datetime.min.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_record(sample: Sample) -> dict[str, Any]:
    """One element of ``metrics``; a non-finite value is null, and named in its metadata.

    A nested run names its parent and its root there, too.
    """
    nonfinite = nonfinite_name(sample.value)
    metadata: dict[str, Any] = {
        "run_id": sample.run.run_id,
        "experiment_name": sample.run.experiment_name,
        "step": sample.step,
        "tags": dict(sample.run.tags),
    }
    if sample.run.parent_run_id:
        metadata["parent_run_id"] = sample.run.parent_run_id
        metadata["root_run_id"] = sample.run.root_run_id or sample.run.parent_run_id
    if nonfinite is not None:
        metadata["nonfinite"] = nonfinite
    return {
        "name": sample.key,
        "value": sample.value if nonfinite is None else None,
        "timestamp": iso_utc(sample.timestamp_ms),
        "metadata": metadata,
    }
