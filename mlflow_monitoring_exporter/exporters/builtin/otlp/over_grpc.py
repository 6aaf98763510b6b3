"""OTLP/gRPC (OTLP specification 1.x, "OTLP/gRPC")."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from requests.utils import get_environ_proxies, select_proxy

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.config.tls import Stamp, TlsFiles, TlsFilesError
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    ConfigProblem,
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.foreign_text import excerpt
from mlflow_monitoring_exporter.exporters.answers import LONGEST_WAIT
from mlflow_monitoring_exporter.exporters.builtin.otlp.transport import judge
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp
from mlflow_monitoring_exporter.http import HttpFailedError, display_url

_Code = grpc.StatusCode
#: What the specification allows to be tried again; RESOURCE_EXHAUSTED only when the receiver says when.
_RETRYABLE = {
    *(_Code.CANCELLED, _Code.DEADLINE_EXCEEDED, _Code.ABORTED, _Code.OUT_OF_RANGE),
    *(_Code.UNAVAILABLE, _Code.DATA_LOSS),
}
#: Refusals of some points, or of so many: a request with fewer is another request, and may be taken.
_ABOUT_POINTS = {_Code.INVALID_ARGUMENT, _Code.RESOURCE_EXHAUSTED}
#: What gRPC says of an answer that was cut short or reset on the way, or is not from a gRPC server.
_NO_ANSWER = re.compile(r"Stream removed|No status received|RST_STREAM|Exception deserializing response")
_MADE_UP = {_Code.UNKNOWN, _Code.INTERNAL, _Code.RESOURCE_EXHAUSTED}
#: Of OTLP/gRPC, as registered.
_PORT = 4317
_DETAILS = "grpc-status-details-bin"


class GrpcTransport:
    """A channel to one receiver; encrypted for ``https://``."""

    def __init__(self, url: str, settings: AuthenticatedHttp, *, compressed: bool) -> None:
        self.where = display_url(url)
        self._url = url
        self._settings = settings
        self._credentials = settings.credentials_for(url)
        self._compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        self._channel: grpc.Channel | None = None
        self._tls = TlsFiles.of(settings)
        self._secure = urlsplit(url).scheme == "https"
        self._stamp: Stamp | None = None

    def start(self) -> None:
        """Open the channel; it connects by itself. Raises ConfigError for certificates or proxies that cannot be."""
        try:
            self._open()
        except (TlsFilesError, HttpFailedError) as error:
            raise ConfigError([ConfigProblem("", "", str(error))]) from None

    def send(self, request: ExportMetricsServiceRequest, points: int, deadline: Deadline | None) -> None:
        own = self._settings.timeout
        timeout = Deadline.after(own) if deadline is None else deadline.earlier(own)
        try:
            stub: Any = MetricsServiceStub(self._current())
            metadata = tuple((name.lower(), value) for name, value in self._credentials.sent().items())
            response = stub.Export(
                request, timeout=timeout.remaining(), metadata=metadata, compression=self._compression
            )
        except (HttpFailedError, TlsFilesError) as error:
            raise RetryableExportError(f"{self.where}: {error}") from None
        except grpc.RpcError as error:
            raise self._refusal(error) from None
        if response is None:  # a status of success, and half a message or none before it
            raise RetryableExportError(f"{self.where}: the answer was cut short")
        judge(response, points, self.where)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _current(self) -> grpc.Channel:
        """The channel; a new one when certificates changed."""
        if self._secure and self._channel is not None and self._tls.stamp() != self._stamp:
            self.close()
        return self._channel or self._open()

    def _open(self) -> grpc.Channel:
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        target = f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORT}"
        options = [
            ("grpc.primary_user_agent", f"mlflow-monitoring-exporter/{__version__}"),
            # The worker decides when to try again.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
            self._proxy(),
        ]
        if self._secure:
            # Before reading: what changes meanwhile is read again with the next request.
            self._stamp = self._tls.stamp()
            roots, chain, key = self._tls.pem()
            credentials = grpc.ssl_channel_credentials(roots, key, chain)
            self._channel = grpc.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        return self._channel

    def _proxy(self) -> tuple[str, str | int]:
        """The option of a channel that names the proxy which everything else goes through, too."""
        proxy = select_proxy(self._url, get_environ_proxies(self._url))
        if proxy is None:
            return "grpc.enable_http_proxy", 0
        scheme = urlsplit(proxy).scheme
        if scheme not in ("http", ""):
            text = "knows only http:// proxies, and the environment names another: set NO_PROXY, or use protocol: http"
            raise HttpFailedError(f"gRPC {text}")
        return "grpc.http_proxy", proxy if scheme else f"http://{proxy}"

    def _refusal(self, error: grpc.RpcError) -> ExportError:
        code = error.code()
        details = excerpt(self._credentials.redact(error.details() or ""))
        text = f"{self.where}: {code.name}: {details}"
        wait = _retry_after(error)
        if code in _RETRYABLE or (code is _Code.RESOURCE_EXHAUSTED and wait is not None):
            return RetryableExportError(text, retry_after=wait)
        if code in _MADE_UP and _NO_ANSWER.search(details):
            return RetryableExportError(f"{text}; the answer was cut short, or is not a receiver's; check its address")
        if code in (_Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED):
            return UnauthorizedExportError(f"{text}; check its credentials")
        if code is _Code.UNIMPLEMENTED:  # who answers speaks gRPC, but does not receive metrics
            return RetryableExportError(f"{text}; check its address")
        return PermanentExportError(text, divisible=code in _ABOUT_POINTS)


def _retry_after(error: grpc.RpcError) -> float | None:
    """Seconds that a RetryInfo among the details of the status asks for."""
    metadata: Any = error.trailing_metadata() or ()
    for name, value in metadata:
        if name == _DETAILS:
            try:
                details = Status.FromString(value).details
            except DecodeError:
                return None
            for detail in details:
                info = RetryInfo()
                if detail.Unpack(info):
                    wished: float = info.retry_delay.ToTimedelta().total_seconds()
                    return min(wished, LONGEST_WAIT)
    return None
