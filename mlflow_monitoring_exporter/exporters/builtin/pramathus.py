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
that a sink can recognise a batch that it already has. For a sink that wants another body there is ``http_json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint, HttpSettings
from mlflow_monitoring_exporter.exporters.json_sink import JsonSink, Shape
from mlflow_monitoring_exporter.exporters.success import MOST_JSON, Success
from mlflow_monitoring_exporter.http import Credentials, display_url


class PramathusConfig(HttpSettings, BatchExporterConfig):
    """A Pramathus-style sink."""

    type: Literal["pramathus"]
    endpoint: HttpUrl = Field(description="where batches are posted to")
    api_key: SecretStr | None = Field(None, description="sent as Authorization: Bearer")
    api_key_file: Path | None = None
    success: Success = Field(Success(), description="what an answer must be to mean that the sink has the batch")

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if not self.secret("api_key"):
            raise ValueError("needs api_key or api_key_file")
        return self


def create(config: PramathusConfig) -> JsonSink:
    """A JSON sink of the default shape."""
    credentials = Credentials(token=config.secret("api_key"))
    endpoint = Endpoint(config.endpoint, config, credentials=credentials, max_body=MOST_JSON)
    return JsonSink(endpoint, Shape(), config.success)


plugin = ExporterPlugin(
    config=PramathusConfig,
    create=create,
    mode=DeliveryMode.EVERY,
    target=lambda config: display_url(config.endpoint),
)
