"""A sample as JSON sinks see it: one record, and the body that carries records.

The default shapes are the contract of docs/pramathus.openapi.yaml; docs/reference/json-records.md lists what a
template of an operator's own may name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from mlflow_monitoring_exporter.core.values import Batch, Sample, nonfinite_name
from mlflow_monitoring_exporter.exporters.template import ABSENT, Field, Template

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
#: Characters of ``2026-11-21T``.
_DATE = 11
#: The first one of the calendar, in days since 1970: what is before it is said to be its midnight.
_FIRST_DAY = (datetime.min.replace(tzinfo=UTC) - _EPOCH).days

RECORD: Mapping[str, Any] = {
    "name": "$name",
    "value": "$value",
    "timestamp": "$timestamp",
    "metadata": {
        "run_id": "$run_id",
        "server": "$server_name",
        "experiment_name": "$experiment_name",
        "step": "$step",
        "tags": "$tags",
        "parent_run_id": "$parent_run_id",
        "root_run_id": "$root_run_id",
        "nonfinite": "$nonfinite",
    },
}
"""One element of ``metrics``."""

BODY: Mapping[str, Any] = {"timestamp": "$timestamp", "source": "mlflow", "metrics": "$records"}
"""One request."""


def iso_utc(timestamp_ms: int) -> str:
    """``2026-11-21T08:15:30.250Z``. A time that the calendar cannot hold becomes its nearest end."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)  # exact; a float of seconds is not, far from now
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC) if timestamp_ms > 0 else datetime.min.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_utcs(timestamps_ms: Iterable[int]) -> list[str]:
    """:func:`iso_utc` of each, of which most share their day."""
    days: dict[int, str | None] = {}
    texts = []
    for timestamp_ms in timestamps_ms:
        day, ms = divmod(timestamp_ms, _DAY_MS)
        if day not in days:
            whole = iso_utc(day * _DAY_MS)
            # A day that the calendar does not hold, or only a part of which it holds, has no midnight.
            days[day] = whole[:_DATE] if whole[_DATE:] == "00:00:00.000Z" else None
        date = days[day]
        if date is None or day <= _FIRST_DAY:
            texts.append(iso_utc(timestamp_ms))
            continue
        seconds, ms = divmod(ms, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        texts.append(f"{date}{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
    return texts


def _root(sample: Sample) -> Any:
    """Only of a nested run; every other is its own."""
    run = sample.run
    return (run.root_run_id or run.parent_run_id) if run.parent_run_id else ABSENT


SAMPLE_FIELDS: Mapping[str, Field[Sample]] = {
    "name": lambda sample: sample.key,
    "value": lambda sample: sample.value if nonfinite_name(sample.value) is None else None,
    "nonfinite": lambda sample: nonfinite_name(sample.value) or ABSENT,
    "timestamp": lambda sample: iso_utc(sample.timestamp_ms),
    "timestamp_ms": lambda sample: sample.timestamp_ms,
    "timestamp_s": lambda sample: sample.timestamp_ms // 1000,
    "step": lambda sample: sample.step,
    "run_id": lambda sample: sample.run.run_id,
    "run_name": lambda sample: sample.run.run_name,
    "experiment_id": lambda sample: sample.run.experiment_id,
    "experiment_name": lambda sample: sample.run.experiment_name,
    "server": lambda sample: sample.run.server,
    "server_name": lambda sample: sample.run.server_name or ABSENT,
    "tags": lambda sample: dict(sample.run.tags),
    "parent_run_id": lambda sample: sample.run.parent_run_id or ABSENT,
    "root_run_id": _root,
}
"""What a record may name."""


@dataclass(frozen=True, slots=True)
class Records:
    """A batch, and the list of what became of its samples, as JSON."""

    batch: Batch
    records: orjson.Fragment


BODY_FIELDS: Mapping[str, Field[Records]] = {
    "records": lambda of: of.records,
    "batch_id": lambda of: of.batch.batch_id,
    "timestamp": lambda of: iso_utc(of.batch.created_ms),
    "timestamp_ms": lambda of: of.batch.created_ms,
    "timestamp_s": lambda of: of.batch.created_ms // 1000,
}
"""What a body may name; the times are when its batch was queued."""

to_record = Template(RECORD, SAMPLE_FIELDS).fill
"""A sample in the default shape: a non-finite value is null, and named in its metadata."""
