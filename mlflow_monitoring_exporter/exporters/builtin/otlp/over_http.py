"""OTLP/HTTP with binary protobuf (OTLP specification 1.x, "OTLP/HTTP")."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ExportError, PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.answers import CREDENTIALS, pause
from mlflow_monitoring_exporter.exporters.builtin.otlp.transport import judge
from mlflow_monitoring_exporter.exporters.compression import gzipped
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp, Endpoint
from mlflow_monitoring_exporter.http import HttpResponse

_PATH = "/v1/metrics"
_PROTOBUF = "application/x-protobuf"
#: The only ones that the specification allows to be tried again.
_RETRYABLE = (429, 502, 503, 504)
#: Refusals of some points, or of so many: a request with fewer is another request, and may be taken.
_ABOUT_POINTS = (400, 413, 422)
#: Wrong addresses and credentials.
_NOT_ABOUT_POINTS = (*CREDENTIALS, 404, 405, 421)


class HttpTransport:
    """A session with one receiver."""

    def __init__(self, url: str, settings: AuthenticatedHttp, *, compressed: bool) -> None:
        self._compressed = compressed
        self._endpoint = Endpoint(url.removesuffix(_PATH) + _PATH, settings, credentials=settings.credentials_for(url))

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def send(self, request: ExportMetricsServiceRequest, points: int, deadline: Deadline | None) -> None:
        body, headers = request.SerializeToString(), {"Content-Type": _PROTOBUF}
        if self._compressed:
            body, headers["Content-Encoding"] = gzipped(body), "gzip"
        answer = self._endpoint.send("POST", deadline=deadline, body=body, headers=headers)
        if not points and self._endpoint.reached(answer):  # a check
            return
        if not answer.ok:
            raise self._refusal(answer)
        judge(self._parsed(answer), points, self._endpoint.where)

    def close(self) -> None:
        self._endpoint.close()

    def _refusal(self, answer: HttpResponse) -> ExportError:
        """As the specification says, but for wrong addresses and credentials: those are not the points' fault."""
        text = self._told(answer)
        if answer.status in _RETRYABLE:
            return RetryableExportError(text, retry_after=pause(answer), status=answer.status)
        if answer.status < 400 or answer.status in _NOT_ABOUT_POINTS:
            return self._endpoint.refusal(answer)
        return PermanentExportError(text, status=answer.status, divisible=answer.status in _ABOUT_POINTS)

    def _told(self, answer: HttpResponse) -> str:
        """With the message of a google.rpc.Status, which is what a receiver is to answer."""
        if answer.headers.get("Content-Type") == _PROTOBUF:
            try:
                message = Status.FromString(answer.body).message
            except DecodeError:
                message = ""
            answer = HttpResponse(answer.status, {"Content-Type": "text/plain"}, message.encode())
        return self._endpoint.told(answer)

    def _parsed(self, answer: HttpResponse) -> ExportMetricsServiceResponse:
        """What is no such message says nothing: the status alone counts then, unless a message was cut short."""
        try:
            return ExportMetricsServiceResponse.FromString(answer.body)
        except DecodeError:
            if not answer.framed and not answer.cut and answer.headers.get("Content-Type") == _PROTOBUF:
                raise RetryableExportError(f"{self._endpoint.where}: the answer was cut short") from None
            return ExportMetricsServiceResponse()
