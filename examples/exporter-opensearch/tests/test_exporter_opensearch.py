"""The exporter keeps the contract, and what arrives are documents."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from exporter_opensearch import OpenSearchConfig, plugin

from mlflow_monitoring_exporter.plugin import Deadline, PartialExportError, RetryableExportError
from mlflow_monitoring_exporter.testing import HttpExporterContract, HttpPlatform, Reply, Request, make_batch

API_KEY = "a2V5OnMzY3JldA=="


class OpenSearch(HttpPlatform):
    """As much of one as creates documents, each by its id."""

    secrets = (API_KEY,)

    def __init__(self) -> None:
        self.documents: dict[str, Mapping[str, Any]] = {}
        #: The statuses of documents that it does not take, by their place in a request.
        self.refused: Mapping[int, int] = {}

    def settings(self) -> Mapping[str, Any]:
        return {"url": self.url, "index": "metrics", "token": API_KEY, "timeout": "500ms"}

    def read(self, request: Request) -> Iterable[Hashable]:
        if request.headers["authorization"] != f"ApiKey {API_KEY}":
            raise ValueError("who is that?")
        if not request.body:
            raise ValueError("request body is required")
        return [document_id for document_id, _ in documents(request)]

    def reply(self, request: Request) -> Reply:
        items = []
        for place, (document_id, document) in enumerate(documents(request)):
            status = self.refused.get(place, 409 if document_id in self.documents else 201)
            if status == 201:
                self.documents[document_id] = document
            error = {"error": {"type": "mapper_parsing_exception"}} if status == 400 else {}
            items.append({"create": {"status": status, **error}})
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"items": items}).encode())


def documents(request: Request) -> list[tuple[str, Mapping[str, Any]]]:
    lines = [json.loads(line) for line in request.body.splitlines()]
    return [(action["create"]["_id"], document) for action, document in zip(lines[::2], lines[1::2], strict=True)]


@pytest.fixture
def platform() -> Iterator[OpenSearch]:
    with OpenSearch() as running:
        yield running


class TestOpenSearch(HttpExporterContract):
    """The whole contract; OpenSearch knows a document again by its id, not a request by its key."""

    plugin = plugin
    idempotency_key = None


def export(platform: OpenSearch, *values: float) -> None:
    batch = make_batch(len(values))
    samples = [replace(sample, value=value) for sample, value in zip(batch.samples, values, strict=True)]
    exporter = plugin.create(OpenSearchConfig.model_validate({"type": "opensearch", **platform.settings()}))
    try:
        exporter.export(replace(batch, samples=samples), deadline=Deadline.after(10))
    finally:
        exporter.close()


def test_a_sample_is_a_document(platform: OpenSearch) -> None:
    export(platform, 0.5, math.nan)
    number, nan = platform.documents.values()
    assert (number["metric"], number["value"], number["nonfinite"], number["step"]) == ("val/loss", 0.5, None, 0)
    assert (nan["value"], nan["nonfinite"], nan["step"]) == (None, "NaN", 1)
    assert nan["@timestamp"] - number["@timestamp"] == 1000


def test_only_what_is_refused_becomes_a_dead_letter(platform: OpenSearch) -> None:
    platform.refused = {1: 400}
    with pytest.raises(PartialExportError, match="refused 1 of 3: mapper_parsing_exception") as raised:
        export(platform, 1.0, 2.0, 3.0)
    assert raised.value.rejected == (1,)
    assert len(platform.documents) == 2


def test_what_it_has_no_room_for_now_is_tried_again(platform: OpenSearch) -> None:
    platform.refused = {0: 400, 2: 429}
    with pytest.raises(RetryableExportError, match="429"):
        export(platform, 1.0, 2.0, 3.0)
    platform.refused = {}
    export(platform, 1.0, 2.0, 3.0)
    assert [document["value"] for document in platform.documents.values()] == [2.0, 1.0, 3.0]


def test_whatever_else_answers_is_no_platform(platform: OpenSearch) -> None:
    platform.instead = Reply(200, {}, b'{"tagline": "You Know, for Search"}')
    with pytest.raises(RetryableExportError, match="check its address"):
        export(platform, 1.0)
