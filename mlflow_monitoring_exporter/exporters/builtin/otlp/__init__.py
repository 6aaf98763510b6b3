"""Sends every sample by OTLP, over HTTP or gRPC: an OpenTelemetry Collector, and whatever takes what it takes.

::

    exporters:
      otlp:
        type: otlp
        endpoint: http://collector:4318            # 4317 with protocol: grpc
        protocol: http
        headers_file: /run/secrets/otlp_headers    # api-key: ..., one in each line
        service_name: mlflow
        resource: {deployment.environment: production}
        step: true                                 # the step as an attribute of each point

A metric is a gauge, ``mlflow.<key>``; its points have MLflow's own times. Needs the extra ``otlp``. Attributes, and
what becomes of answers, are in docs/how-to/otlp.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ConfigError, PartialExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.builtin.otlp.messages import Encoder
from mlflow_monitoring_exporter.exporters.builtin.otlp.over_http import HttpTransport
from mlflow_monitoring_exporter.exporters.builtin.otlp.transport import Transport
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin, advice
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp
from mlflow_monitoring_exporter.http import display_url


class OtlpConfig(AuthenticatedHttp, BatchExporterConfig):
    """A receiver of OTLP."""

    type: Literal["otlp"]
    endpoint: HttpUrl = Field(description="of the receiver; over HTTP /v1/metrics is added unless it is there")
    protocol: Literal["http", "grpc"] = Field("http", description="protobuf over HTTP, or gRPC")
    compression: Literal["gzip", "none"] = Field("gzip", description="of what is sent")
    service_name: str = Field("mlflow", min_length=1, description="the attribute service.name of the resource")
    resource: Mapping[str, str] = Field({}, description="more attributes of the resource")
    step: bool = Field(
        True, description="the step as an attribute; off where every set of attributes makes a series of its own"
    )


class OtlpExporter:
    """One receiver."""

    def __init__(self, config: OtlpConfig, transport: Transport) -> None:
        resource = {**config.resource, "service.name": config.service_name}
        self._encoder = Encoder(resource, step=config.step)
        self._transport = transport

    def start(self) -> None:
        self._transport.start()

    def check(self) -> None:
        """Send a request without any metric."""
        self._transport.send(self._encoder.encode((), 0).request, 0, None)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        """Raises PartialExportError when everything was sent but points whose time OTLP cannot express."""
        encoded = self._encoder.encode(payload.samples, payload.created_ms)
        count = len(payload.samples) - len(encoded.rejected)
        if count:
            self._transport.send(encoded.request, count, deadline)
        if encoded.rejected:
            raise PartialExportError("OTLP cannot express times before 1970 or after 2554", rejected=encoded.rejected)

    def close(self) -> None:
        self._transport.close()


def create(config: OtlpConfig) -> OtlpExporter:
    """With the transport that the configuration names."""
    if config.protocol == "grpc":
        # Only where it is used: it costs tens of megabytes.
        try:
            from mlflow_monitoring_exporter.exporters.builtin.otlp.over_grpc import GrpcTransport  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(f"protocol: grpc: {error.msg}: {advice('otlp')}") from None
        return OtlpExporter(config, GrpcTransport(config.endpoint, config, compressed=config.compression == "gzip"))
    return OtlpExporter(config, HttpTransport(config.endpoint, config, compressed=config.compression == "gzip"))


plugin = ExporterPlugin(
    config=OtlpConfig,
    create=create,
    mode=DeliveryMode.EVERY,
    target=lambda config: f"{display_url(config.endpoint)} {config.protocol}",
)
