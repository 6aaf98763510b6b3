"""What HTTP and gRPC have in common: the protocol, and what a partial success means."""

from __future__ import annotations

from typing import Protocol

import structlog
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PermanentExportError
from mlflow_monitoring_exporter.core.foreign_text import excerpt

_log = structlog.get_logger(__name__)


class Transport(Protocol):
    """A way to one receiver."""

    def start(self) -> None: ...

    def send(self, request: ExportMetricsServiceRequest, points: int, deadline: Deadline | None) -> None:
        """Deliver ``request``, which holds so many points. Raises an ExportError."""
        ...

    def close(self) -> None: ...


def judge(response: ExportMetricsServiceResponse, points: int, where: str) -> None:
    """What an answer with success says of the points. Raises PermanentExportError when it took none of them.

    A receiver that rejected some does not say which ones, and must not be sent them again (OTLP specification,
    "Partial Success"), so that all there is to do is to tell people.
    """
    partial = response.partial_success
    message = excerpt(partial.error_message)
    if partial.rejected_data_points >= points > 0:
        raise PermanentExportError(f"{where} rejected all {points} points: {message}", divisible=False)
    if partial.rejected_data_points or message:
        _log.warning(
            "receiver rejected some points without saying which",
            to=where,
            rejected=partial.rejected_data_points,
            of=points,
            reason=message,
        )
