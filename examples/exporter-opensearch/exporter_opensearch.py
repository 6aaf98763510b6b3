"""Sends every sample to OpenSearch or Elasticsearch, a document each, through the bulk API.

::

    exporters:
      opensearch:
        type: opensearch
        url: https://opensearch.example:9200
        index: mlflow-metrics                            # an index or a data stream
        username: writer                                 # or token: an API key of Elasticsearch
        password_file: /run/secrets/opensearch_password
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from mlflow_monitoring_exporter.plugin import (
    AuthenticatedHttp,
    Batch,
    BatchExporterConfig,
    Deadline,
    DeliveryMode,
    Endpoint,
    ExporterPlugin,
    HttpResponse,
    HttpUrl,
    PartialExportError,
    RetryableExportError,
    Sample,
    display_url,
    nonfinite_name,
)

#: What of each document's result is answered; all of it would be longer than the request.
_ANSWERED = "items.*.status,items.*.error.type"
#: Bytes of an answer that are read: what is said of the largest batch.
_MAX_BODY = 1 << 24
_BAD_REQUEST, _CONFLICT, _TOO_MANY_REQUESTS = 400, 409, 429


class OpenSearchConfig(AuthenticatedHttp, BatchExporterConfig):
    """The block in config.yaml. Credentials, certificates, ``headers`` and ``timeout`` come with it."""

    type: Literal["opensearch"]
    url: HttpUrl = Field(description="of the cluster, without the path of its API")
    index: str = Field("mlflow-metrics", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="an index or a data stream")


class OpenSearchExporter:
    """One index; the session with its cluster opens with the first request."""

    def __init__(self, config: OpenSearchConfig) -> None:
        credentials = config.credentials_for(config.url, scheme="ApiKey")
        self._endpoint = Endpoint(config.url, config, credentials=credentials, max_body=_MAX_BODY)
        self._path = f"/{config.index}/_bulk"

    def start(self) -> None:
        """The session opens by itself."""

    def check(self) -> None:
        """Send no document, which whoever may write is told with 400."""
        answer = self._endpoint.send("POST", self._path, body=b"")
        if not self._endpoint.reached(answer) and answer.status != _BAD_REQUEST:
            raise self._endpoint.refusal(answer)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        # An id of its own for each document is what makes a repeated delivery harmless.
        lines = (_lines(f"{payload.batch_id}-{place}", sample) for place, sample in enumerate(payload.samples))
        answer = self._endpoint.send(
            "POST",
            self._path,
            deadline=deadline,
            body="".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
            params={"filter_path": _ANSWERED},
        )
        if not answer.ok:
            raise self._endpoint.refusal(answer)
        self._raise_for_documents(answer, len(payload.samples))

    def close(self) -> None:
        self._endpoint.close()

    def _raise_for_documents(self, answer: HttpResponse, count: int) -> None:
        """The status of an answer says nothing about the documents; each has its own."""
        where = self._endpoint.where
        try:
            results = [item["create"] for item in json.loads(answer.body)["items"]]
            statuses = [int(result["status"]) for result in results]
        except (ValueError, TypeError, LookupError):
            raise RetryableExportError(f"{where} did not answer as a bulk API does; check its address") from None
        if len(statuses) != count:
            raise RetryableExportError(f"{where} answered for {len(statuses)} of {count} documents")
        for status in statuses:
            if status == _TOO_MANY_REQUESTS or status >= 500:
                raise RetryableExportError(f"{where} could not take every document now: {status}", status=status)
        # A document whose id is taken is one that was delivered before.
        rejected = [place for place, status in enumerate(statuses) if status >= 400 and status != _CONFLICT]
        if rejected:
            reason = results[rejected[0]].get("error", {}).get("type", statuses[rejected[0]])
            raise PartialExportError(f"{where} refused {len(rejected)} of {count}: {reason}", rejected=rejected)


def _lines(document_id: str, sample: Sample) -> str:
    """What to do, and with which document; JSON has no value that is not finite."""
    nonfinite = nonfinite_name(sample.value)
    document = {
        "@timestamp": sample.timestamp_ms,
        "metric": sample.key,
        "value": sample.value if nonfinite is None else None,
        "nonfinite": nonfinite,
        "step": sample.step,
        "run_id": sample.run.run_id,
        "run_name": sample.run.run_name,
        "experiment_name": sample.run.experiment_name,
        "tags": dict(sample.run.tags),
    }
    return f"{json.dumps({'create': {'_id': document_id}})}\n{json.dumps(document, allow_nan=False)}\n"


plugin = ExporterPlugin(
    config=OpenSearchConfig,
    create=OpenSearchExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: f"{display_url(config.url)} {config.index}",
)
