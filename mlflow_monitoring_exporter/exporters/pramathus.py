"""Sends every sample, in batches, to a Pramathus-style HTTP sink.

::

    exporters:
      pramathus:
        type: pramathus
        endpoint: https://pramathus.example/api/v1/metrics
        api_key_file: /run/secrets/pramathus_api_key    # or api_key: ...
        batch_size: 500
        timeout: 10s                                    # total, per request
        ca_file: /etc/ssl/private-ca.pem                # optional

The body is described in docs/pramathus.openapi.yaml. ``Idempotency-Key`` carries the batch id, so
that a sink can recognise a batch that it already has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import orjson
from pydantic import Field, SecretStr, model_validator

from mlflow_monitoring_exporter.config.fields import Duration, HttpUrl
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.errors import RetryableExportError
from mlflow_monitoring_exporter.exporters.answers import to_error
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.record import iso_utc, to_record
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, HttpResponse, display_url
from mlflow_monitoring_exporter.model import Batch


class PramathusConfig(BatchExporterConfig):
    """A Pramathus-style sink."""

    type: Literal["pramathus"]
    endpoint: HttpUrl = Field(description="where batches are posted to")
    api_key: SecretStr | None = Field(None, description="sent as Authorization: Bearer")
    api_key_file: Path | None = None
    timeout: Duration = Field(10.0, description="total time for one request")
    ca_file: Path | None = Field(None, description="PEM bundle that the server's certificate is checked against")

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if not self.secret("api_key"):
            raise ValueError("needs api_key or api_key_file")
        return self


class PramathusExporter:
    """One sink."""

    def __init__(self, config: PramathusConfig) -> None:
        self._config = config
        self._where = display_url(config.endpoint)
        self._client = HttpClient(
            credentials=Credentials(token=config.secret("api_key")), ca_file=config.ca_file, max_body=1 << 20
        )

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Ask with OPTIONS, which delivers nothing; sinks need not support it, only answer."""
        answer = self._send("OPTIONS", Deadline.after(self._config.timeout))
        if answer.status in (401, 403) or answer.status >= 500 or 300 <= answer.status < 400:
            raise to_error(answer, self._told(answer))

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        body = {
            "timestamp": iso_utc(payload.created_ms),
            "source": "mlflow",
            "metrics": [to_record(sample) for sample in payload.samples],
        }
        answer = self._send(
            "POST",
            deadline.earlier(self._config.timeout),
            body=orjson.dumps(body),
            headers={"Content-Type": "application/json", "Idempotency-Key": payload.batch_id},
        )
        if not answer.ok:
            raise to_error(answer, self._told(answer))

    def close(self) -> None:
        self._client.close()

    def _send(
        self, method: str, deadline: Deadline, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HttpResponse:
        try:
            return self._client.request(method, self._config.endpoint, deadline=deadline, body=body, headers=headers)
        except HttpFailedError as error:
            raise RetryableExportError(f"{self._where}: {error}") from None

    def _told(self, answer: HttpResponse) -> str:
        return f"{self._where} answered {self._client.describe(answer)}"


plugin = ExporterPlugin(
    config=PramathusConfig,
    create=PramathusExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: display_url(config.endpoint),
)
