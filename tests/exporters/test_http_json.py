"""Shapes of an operator's own, against a server that keeps what it gets."""

from __future__ import annotations

import gzip
import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample
from mlflow_monitoring_exporter.exporters.builtin import pramathus
from mlflow_monitoring_exporter.exporters.builtin.http_json import HttpJsonConfig, create
from mlflow_monitoring_exporter.exporters.record import SAMPLE_FIELDS, to_record
from mlflow_monitoring_exporter.exporters.template import Template
from tests.exporters.samples import any_sample, batch
from tests.parts.bad_server import BadServer, Received, answer, bad_server

KEY = "k3y-of-the-operator"
CONTEXT = RunContext("https://mlflow", "7", "churn", "a" * 32, "brave-fox", {"stage": "dev"}, "b" * 32, "c" * 32)
SAMPLE = Sample(CONTEXT, "val/loss", 3, 1_790_000_000_250, 0.5)


def send(server: BadServer, payload: Batch, **config: Any) -> Received:
    made = create(HttpJsonConfig.model_validate({"type": "http_json", "endpoint": f"{server.url}/in", **config}))
    try:
        made.start()
        made.export(payload, deadline=Deadline.after(5))
    finally:
        made.close()
    return server.requests[-1]


def test_without_templates_it_sends_what_pramathus_sends() -> None:
    with bad_server() as server:
        ours = send(server, batch(), token="key")
        preset = pramathus.create(pramathus.PramathusConfig(type="pramathus", endpoint=server.url, api_key="key"))
        preset.export(batch(), deadline=Deadline.after(5))
        preset.close()
        theirs = server.requests[-1]
    assert ours.body == theirs.body
    for name in ("authorization", "content-type", "idempotency-key"):
        assert ours.headers[name] == theirs.headers[name]


def test_a_compressed_body_does_not_say_when_it_was_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that compares what comes under one key sees the same bytes."""
    with bad_server() as server:
        first = send(server, batch(), compression="gzip")
        later = time.time() + 100
        monkeypatch.setattr(time, "time", lambda: later)
        assert send(server, batch(), compression="gzip").body == first.body
    assert json.loads(gzip.decompress(first.body))["metrics"]


def test_every_placeholder_has_its_value_and_its_type() -> None:
    record = {name: f"${name}" for name in SAMPLE_FIELDS} | {"text": "$name@$step of $tags costs $$5, $nonfinite."}
    with bad_server() as server:
        payload = Batch("b" * 32, 1_790_000_001_000, [SAMPLE, Sample(CONTEXT, "f1", 0, 0, -math.inf)])
        sent = send(
            server,
            payload,
            record=record,
            body=["$timestamp", "$timestamp_ms", "$timestamp_s", "$batch_id", {"all": "$records"}],
        )
    *head, rest = json.loads(sent.body)
    assert head == ["2026-09-21T14:13:21.000Z", 1_790_000_001_000, 1_790_000_001, "b" * 32]
    assert rest["all"][0] == {
        "name": "val/loss",
        "value": 0.5,
        "timestamp": "2026-09-21T14:13:20.250Z",
        "timestamp_ms": 1_790_000_000_250,
        "timestamp_s": 1_790_000_000,
        "step": 3,
        "run_id": "a" * 32,
        "run_name": "brave-fox",
        "experiment_id": "7",
        "experiment_name": "churn",
        "server": "https://mlflow",
        "tags": {"stage": "dev"},
        "parent_run_id": "b" * 32,
        "root_run_id": "c" * 32,
        "text": 'val/loss@3 of {"stage":"dev"} costs $5, .',
    }
    assert rest["all"][1]["value"] is None
    assert rest["all"][1]["nonfinite"] == "-Inf"


def test_a_real_platforms_shape() -> None:
    """Datadog's series API, as the module's own example configures it."""
    record = {
        "metric": "mlflow.$name",
        "type": 3,
        "points": [{"timestamp": "$timestamp_s", "value": "$value"}],
        "tags": ["run_id:$run_id", "experiment:$experiment_name"],
    }
    with bad_server(answer(202)) as server:
        sent = send(
            server,
            Batch("b" * 32, 0, [SAMPLE]),
            headers={"DD-API-KEY": KEY},
            record=record,
            body={"series": "$records"},
            idempotency_header="",
        )
    assert sent.headers["dd-api-key"] == KEY
    assert "idempotency-key" not in sent.headers
    assert json.loads(sent.body) == {
        "series": [
            {
                "metric": "mlflow.val/loss",
                "type": 3,
                "points": [{"timestamp": 1_790_000_000, "value": 0.5}],
                "tags": [f"run_id:{'a' * 32}", "experiment:churn"],
            }
        ]
    }


def test_lines_a_compressed_body_and_another_method() -> None:
    with bad_server() as server:
        sent = send(server, batch(3), format="lines", compression="gzip", method="PUT", record=["$step"])
        again = send(server, batch(3), format="lines", compression="gzip", method="PUT", record=["$step"])
    assert (sent.method, sent.path) == ("PUT", "/in")
    assert (sent.headers["content-type"], sent.headers["content-encoding"]) == ("application/x-ndjson", "gzip")
    assert gzip.decompress(sent.body) == b"[0]\n[1]\n[2]\n"
    assert again.body == sent.body


def test_headers_come_from_a_file_that_rotates_and_win(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text(f"# who we are\nX-Key: {KEY}\n\nContent-Type: application/vnd.acme+json\n")
    with bad_server() as server:
        made = create(HttpJsonConfig(type="http_json", endpoint=server.url, headers_file=file))
        made.export(batch(), deadline=Deadline.after(5))
        file.write_text("X-Key: another-one-now\n")
        made.export(batch(), deadline=Deadline.after(5))
        file.write_text("X-Key: another-one-that-is-worse\nno header\n")
        with pytest.raises(RetryableExportError, match="line 2 is not a header"):
            made.export(batch(), deadline=Deadline.after(5))
        made.close()
    assert [request.headers["x-key"] for request in server.requests] == [KEY, "another-one-now"]
    assert server.requests[0].headers["content-type"] == "application/vnd.acme+json"


def test_a_server_that_repeats_a_header_does_not_betray_it() -> None:
    with (
        bad_server(answer(400, body=f"wrong key {KEY}!".encode())) as server,
        pytest.raises(PermanentExportError, match="wrong key") as caught,
    ):
        send(server, batch(), headers=f"X-Key: {KEY}")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"record": {"a": "$nmae"}}, "\\$nmae is no placeholder; known are \\$experiment_id"),
        ({"body": {"a": "$name"}}, "\\$name is no placeholder; known are \\$batch_id"),
        ({"body": {"a": "records"}}, "names \\$records nowhere"),
        ({"record": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, "is nothing that JSON can hold"),
        ({"format": "lines", "body": ["$records"]}, "body does not go with format: lines"),
        ({"headers": "no header"}, "line 1 is not a header"),
        ({"headers": {"X-Key": "two\nlines"}}, "the value of X-Key must be one line"),
        ({"headers": {"X-Key": "ä"}}, "line 1 is not a header"),
        ({"token": "a", "username": "b", "password": "c"}, "either token or username and password"),
        ({"idempotency_header": "not a name"}, "pattern"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        HttpJsonConfig.model_validate({"type": "http_json", "endpoint": "http://sink", **keys})
    assert "two" not in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text().filter(lambda text: "$" not in text),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(tree=json_values, sample=any_sample)
def test_what_holds_no_placeholder_stays_as_it_is(tree: Any, sample: Sample) -> None:
    assert Template(tree, SAMPLE_FIELDS).fill(sample) == tree


@given(text=st.text(), sample=any_sample)
def test_a_text_whose_dollars_are_doubled_stays_as_it_is(text: str, sample: Sample) -> None:
    assert Template(text.replace("$", "$$"), SAMPLE_FIELDS).fill(sample) == text


@given(sample=any_sample)
def test_the_default_record_says_what_is_nonfinite_and_what_is_nested(sample: Sample) -> None:
    metadata = to_record(sample)["metadata"]
    assert ("nonfinite" in metadata) is not math.isfinite(sample.value)
    assert ("parent_run_id" in metadata) is ("root_run_id" in metadata) is bool(sample.run.parent_run_id)
