"""Sends every sample, in batches, to any HTTP sink that takes JSON, in a shape of the operator's.

::

    exporters:
      datadog:
        type: http_json
        endpoint: https://api.datadoghq.com/api/v2/series
        headers_file: /run/secrets/datadog_headers      # DD-API-KEY: ...
        body: {series: $records}
        record:
          metric: mlflow.$name
          type: 3                                       # a gauge
          points: [{timestamp: $timestamp_s, value: $value}]
          tags: ["run_id:$run_id", "experiment:$experiment_name"]

Without ``body`` and ``record`` the shape is that of ``pramathus``. What a template may name, and what becomes of
answers, is in docs/reference/json-records.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp, Endpoint
from mlflow_monitoring_exporter.exporters.json_sink import JsonSink, Shape
from mlflow_monitoring_exporter.exporters.record import BODY_FIELDS, SAMPLE_FIELDS
from mlflow_monitoring_exporter.exporters.success import MOST_JSON, Success
from mlflow_monitoring_exporter.exporters.template import Template
from mlflow_monitoring_exporter.http import display_url


def _check_record(tree: Any) -> Any:
    Template(tree, SAMPLE_FIELDS)
    return tree


def _check_body(tree: Any) -> Any:
    if "records" not in Template(tree, BODY_FIELDS).used:
        raise ValueError("names $records nowhere, so no sample would be sent")
    return tree


class HttpJsonConfig(AuthenticatedHttp, BatchExporterConfig):
    """A sink that takes JSON."""

    type: Literal["http_json"]
    endpoint: HttpUrl = Field(description="where batches are sent to")
    method: Literal["POST", "PUT"] = Field("POST", description="how")
    record: Annotated[Any, AfterValidator(_check_record)] = Field(
        None, description="template of one sample; default: that of pramathus"
    )
    body: Annotated[Any, AfterValidator(_check_body)] = Field(
        None, description="template of one request; default: that of pramathus"
    )
    format: Literal["json", "lines"] = Field("json", description="one body, or each record on a line of its own")
    compression: Literal["none", "gzip"] = Field("none", description="of the body")
    idempotency_header: str = Field(
        "Idempotency-Key", pattern=r"^[A-Za-z0-9-]*$", description="header that carries the batch id; empty: none"
    )

    success: Success = Field(Success(), description="what an answer must be to mean that the sink has the batch")

    @model_validator(mode="after")
    def _no_body_of_lines(self) -> Self:
        if self.format == "lines" and self.body is not None:
            raise ValueError("body does not go with format: lines, in which each record is a line of its own")
        return self


def create(config: HttpJsonConfig) -> JsonSink:
    """A JSON sink of the operator's shape."""
    shape = Shape(
        record=config.record,
        body=config.body,
        lines=config.format == "lines",
        method=config.method,
        compressed=config.compression == "gzip",
        idempotency_header=config.idempotency_header,
    )
    credentials = config.credentials_for(config.endpoint)
    endpoint = Endpoint(config.endpoint, config, credentials=credentials, max_body=MOST_JSON)
    return JsonSink(endpoint, shape, config.success)


plugin = ExporterPlugin(
    config=HttpJsonConfig,
    create=create,
    mode=DeliveryMode.EVERY,
    target=lambda config: display_url(config.endpoint),
)
