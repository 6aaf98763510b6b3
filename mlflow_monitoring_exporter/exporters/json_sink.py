"""Batches as JSON over HTTP: what Pramathus and every other sink of that kind have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.answers import CREDENTIALS, REACHED
from mlflow_monitoring_exporter.exporters.compression import gzipped
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint
from mlflow_monitoring_exporter.exporters.record import BODY, BODY_FIELDS, RECORD, Records
from mlflow_monitoring_exporter.exporters.record_lines import RecordLines
from mlflow_monitoring_exporter.exporters.success import Success, SuccessTest
from mlflow_monitoring_exporter.exporters.template import Template


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request looks like. Without a body each record is a line of its own.

    ``idempotency_header`` carries the batch id, so that a sink can recognise a batch that it already has.
    """

    record: Any = None
    body: Any = None
    lines: bool = False
    method: str = "POST"
    compressed: bool = False
    idempotency_header: str = "Idempotency-Key"


class JsonSink:
    """One sink."""

    def __init__(self, endpoint: Endpoint, shape: Shape, success: Success) -> None:
        """Raises ValueError for templates that cannot be."""
        self._endpoint = endpoint
        self._shape = shape
        self._success = SuccessTest(success, endpoint)
        self._records = RecordLines(RECORD if shape.record is None else shape.record)
        self._body = Template(BODY if shape.body is None else shape.body, BODY_FIELDS).fill

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Ask with OPTIONS, which delivers nothing; sinks need not support it, only answer."""
        answer = self._endpoint.send("OPTIONS")
        status = answer.status
        foreign = status < 400 and (status >= 300 or self._success.is_foreign(answer))
        if foreign or status in CREDENTIALS or (status >= 500 and status not in REACHED):
            raise self._endpoint.refusal(answer)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        body = self._encode(payload)
        headers = self._headers(payload)
        if self._shape.compressed:
            body = gzipped(body)
        answer = self._endpoint.send(self._shape.method, deadline=deadline, body=body, headers=headers)
        self._success.judge(answer, keyed=bool(self._shape.idempotency_header))

    def close(self) -> None:
        self._endpoint.close()

    def _encode(self, payload: Batch) -> bytes:
        lines = self._records.of(payload.samples)
        if self._shape.lines:
            return b"".join(line + b"\n" for line in lines)
        return orjson.dumps(self._body(Records(payload, orjson.Fragment(b"[%b]" % b",".join(lines)))))

    def _headers(self, payload: Batch) -> Mapping[str, str]:
        headers = {"Content-Type": "application/x-ndjson" if self._shape.lines else "application/json"}
        if self._shape.compressed:
            headers["Content-Encoding"] = "gzip"
        if self._shape.idempotency_header:
            headers[self._shape.idempotency_header] = payload.batch_id
        return headers
