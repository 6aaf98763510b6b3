"""How a batch lies in the outbox: compact JSON, each run written once.

``{"runs": [[server, experiment_id, experiment_name, run_id, run_name, {tags}, parent, root], ...],
"samples": [[run index, key, step, timestamp_ms, value], ...]}`` where a value that JSON cannot hold
is ``"NaN"``, ``"+Inf"`` or ``"-Inf"``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import orjson

from mlflow_monitoring_exporter.core.sample_columns import SampleColumns, columns_of
from mlflow_monitoring_exporter.core.values import Batch, Point, RunContext, Sample, nonfinite_name
from mlflow_monitoring_exporter.state.payload import Payload, batch_id

_pack = struct.Struct("<qqd").pack


def point_hash(point: Point) -> int:
    """64 bits that identify a point within its series, as a signed integer for SQL.

    Two of the n points of a series share a hash with probability n^2 / 2^65: one in 40 million
    for a million points.
    """
    _, step, timestamp_ms, value = point
    digest = blake2b(_pack(step, timestamp_ms, value), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def encode(samples: Sequence[Sample]) -> bytes:
    """The samples as they are stored; equal samples in equal order give equal bytes."""
    columns = columns_of(samples)
    by_object: dict[int, int] = {}
    by_content: dict[bytes, int] = {}
    contexts: list[object] = []
    for run in columns.runs:
        if id(run) in by_object:
            continue
        context = [
            *(run.server, run.experiment_id, run.experiment_name, run.run_id, run.run_name),
            *(dict(run.tags), run.parent_run_id, run.root_run_id),
        ]
        content = orjson.dumps(context, option=orjson.OPT_SORT_KEYS)
        index = by_object[id(run)] = by_content.setdefault(content, len(contexts))
        if index == len(contexts):
            contexts.append(context)
    values: Sequence[float | str] = columns.values
    if not all(map(math.isfinite, columns.values)):
        values = [nonfinite_name(value) or value for value in columns.values]
    indexes = [by_object[id(run)] for run in columns.runs]
    rows = list(zip(indexes, columns.keys, columns.steps, columns.timestamps_ms, values, strict=True))
    return orjson.dumps({"runs": contexts, "samples": rows}, option=orjson.OPT_SORT_KEYS)


def decode(payload: bytes) -> SampleColumns:
    """The samples that :func:`encode` wrote."""
    tree = orjson.loads(payload)
    runs = [RunContext(*fields) for fields in tree["runs"]]
    columns: Sequence[Sequence[Any]] = list(zip(*tree["samples"], strict=True)) or [()] * 5
    indexes, keys, steps, timestamps_ms, values = columns
    if not set(map(type, values)) <= {float}:
        values = [float(value) for value in values]  # of those that JSON cannot hold the names
    return SampleColumns([runs[index] for index in indexes], keys, steps, timestamps_ms, values)


def freeze(samples: Sequence[Sample], *, batch_size: int, created_ms: int) -> list[Payload]:
    """Payloads of at most ``batch_size`` samples each."""
    parts = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    return [Payload.frozen(encode(part), items=len(part), created_ms=created_ms) for part in parts]


def thaw(payload: Payload) -> Batch:
    """The batch that was frozen."""
    return Batch(payload.batch_id, payload.created_ms, decode(payload.content))


def part(batch: Batch, indexes: Sequence[int]) -> Batch:
    """The samples at ``indexes`` as a batch of their own; all of them are the batch itself."""
    if len(indexes) == len(batch.samples):
        return batch
    samples = [batch.samples[index] for index in indexes]
    return Batch(batch_id(encode(samples), batch.created_ms), batch.created_ms, samples)


def frozen_part(batch: Batch, indexes: Sequence[int]) -> Payload:
    """The samples at ``indexes`` as they are stored, under the id that :func:`part` gives them."""
    found = part(batch, indexes)
    return Payload(found.batch_id, found.created_ms, len(found.samples), encode(found.samples))
