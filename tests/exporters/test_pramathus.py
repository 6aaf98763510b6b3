"""Against a strict peer made from docs/pramathus.openapi.yaml, and a server that misbehaves."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import SecretStr

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, Sample
from mlflow_monitoring_exporter.exporters.builtin.pramathus import PramathusConfig, create, plugin
from mlflow_monitoring_exporter.exporters.record import iso_utc
from tests.exporters.samples import any_sample, batch
from tests.parts.bad_server import Behaviour, answer, bad_server, close, cut_short, drip, hang, redirect
from tests.parts.strict_peer import CONTRACT, TOKEN, StrictPeer, strict_peer

#: The ends of the calendar.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999


@pytest.fixture(scope="module")
def peer() -> Iterator[StrictPeer]:
    with strict_peer() as running:
        yield running


def config(endpoint: str, **more: object) -> PramathusConfig:
    return PramathusConfig.model_validate({"type": "pramathus", "endpoint": endpoint, "api_key": TOKEN, **more})


def send(endpoint: str, payload: Batch | None = None, seconds: float = 10.0, **more: object) -> None:
    made = create(config(endpoint, **more))
    try:
        made.start()
        made.export(payload or batch(), deadline=Deadline.after(seconds))
    finally:
        made.close()


def test_the_contract_is_valid_openapi() -> None:
    validate(yaml.safe_load(CONTRACT.read_text()))


def milliseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(samples=st.lists(any_sample, min_size=1, max_size=5), created=st.integers(0, 10**13), number=st.integers(0))
def test_whatever_mlflow_holds_the_strict_peer_takes(
    peer: StrictPeer, samples: list[Sample], created: int, number: int
) -> None:
    key = f"{number % 16**16:016x}{time.monotonic_ns() % 16**16:016x}"
    send(peer.url, Batch(key, created, samples))
    assert peer.violations == []
    taken = peer.batches[key]["metrics"]
    for record, sample in zip(taken, samples, strict=True):
        assert record["name"] == sample.key
        assert milliseconds(record["timestamp"]) == min(max(sample.timestamp_ms, FIRST_MS), LAST_MS)
        assert record["metadata"]["run_id"] == sample.run.run_id
        assert record["metadata"]["experiment_name"] == sample.run.experiment_name
        assert record["metadata"]["step"] == sample.step
        assert record["metadata"]["tags"] == sample.run.tags
        if math.isfinite(sample.value):
            assert record["value"] == sample.value
        else:
            spelled = {"NaN": math.isnan(sample.value), "+Inf": sample.value > 0, "-Inf": sample.value < 0}
            assert record["value"] is None
            assert spelled[record["metadata"]["nonfinite"]]


GOOD = b'{"timestamp": "2026-11-21T08:15:30.250Z", "source": "mlflow", "metrics": [SAMPLE]}'
SAMPLE = (
    b'{"name": "loss", "value": 0.5, "timestamp": "2026-11-21T08:15:30.250Z", '
    b'"metadata": {"run_id": "r", "experiment_name": "", "step": 0, "tags": {"owner": "me"}}}'
)
KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("wanted", "instead"),
    [
        (b'"mlflow"', b'"other"'),
        (b'"source"', b'"extra": 1, "source"'),
        (b'"source"', b'"source": "mlflow", "source"'),
        (b"[SAMPLE]", b"[]"),
        (b'"name": "loss"', b'"name": ""'),
        (b'"name"', b'"unit": "s", "name"'),
        (b"0.5", b"NaN"),
        (b"0.5", b'"0.5"'),
        (b"0.5", b"null"),
        (b'"step"', b'"nonfinite": "NaN", "step"'),
        (b'"step"', b'"more": 1, "step"'),
        (b'"step": 0', b'"step": 0.5'),
        (b'"run_id": "r"', b'"run_id": ""'),
        (b'"me"', b"1"),
        (b"30.250Z", b"30Z"),
        (b"30.250Z", b"30.250+00:00"),
        (b"11-21", b"13-21"),
    ],
)
def test_the_strict_peer_takes_nothing_else(wanted: bytes, instead: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Idempotency-Key": KEY}
    wrong = GOOD.replace(wanted, instead).replace(b"SAMPLE", SAMPLE.replace(wanted, instead))
    with strict_peer() as peer:
        assert requests.post(peer.url, wrong, headers=headers, timeout=30).status_code == 400
        assert (len(peer.violations), peer.samples) == (1, [])
        assert requests.post(peer.url, GOOD.replace(b"SAMPLE", SAMPLE), headers=headers, timeout=30).ok
        assert len(peer.samples) == 1


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Authorization", "Bearer other", 401),
        ("Content-Type", "text/plain", 400),
        ("Idempotency-Key", "short", 400),
        ("Idempotency-Key", KEY.upper(), 400),
    ],
)
def test_the_strict_peer_wants_every_header(header: str, value: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Idempotency-Key": KEY}
    with strict_peer() as peer:
        answered = requests.post(
            peer.url, GOOD.replace(b"SAMPLE", SAMPLE), headers={**headers, header: value}, timeout=30
        )
        assert (answered.status_code, peer.samples) == (status, [])


def test_the_body_is_exactly_what_was_promised() -> None:
    with bad_server(answer(204)) as server:
        send(server.url, batch(1))
    (request,) = server.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["idempotency-key"] == batch().batch_id
    assert json.loads(request.body) == {
        "timestamp": "2026-09-21T14:13:20.000Z",
        "source": "mlflow",
        "metrics": [
            {
                "name": "loss",
                "value": 0.0,
                "timestamp": "2026-09-21T14:13:20.000Z",
                "metadata": {
                    "run_id": "a" * 32,
                    "experiment_name": "experiment",
                    "step": 0,
                    "tags": {"owner": "me"},
                },
            }
        ],
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_success(status: int) -> None:
    with bad_server(answer(status)) as server:
        send(server.url)


@pytest.mark.parametrize(
    ("behaviour", "error", "text"),
    [
        (answer(500, body=b"out of\norder"), RetryableExportError, "HTTP 500 Internal Server Error: out of order"),
        (answer(429), RetryableExportError, "HTTP 429"),
        (answer(404), RetryableExportError, "HTTP 404 Not Found; check its address"),
        (redirect("http://127.0.0.1:1/elsewhere"), RetryableExportError, "a redirect, which is not followed"),
        (answer(401), UnauthorizedExportError, "HTTP 401 Unauthorized; check its credentials"),
        (answer(403), UnauthorizedExportError, "HTTP 403"),
        (answer(422, body=b"no such metric"), PermanentExportError, "no such metric"),
        (close(), RetryableExportError, "connection closed without an answer"),
        (cut_short(), RetryableExportError, "cut short"),
        (hang(), RetryableExportError, "timed out"),
        (drip("headers"), RetryableExportError, "timed out"),
        (drip("body"), RetryableExportError, "timed out"),
    ],
)
def test_every_failure_says_where_and_why(behaviour: Behaviour, error: type[ExportError], text: str) -> None:
    with bad_server(behaviour) as server:
        started = time.monotonic()
        with pytest.raises(error) as caught:
            send(server.url, seconds=0.5)
        assert time.monotonic() - started < 3
    assert str(caught.value).startswith(server.url)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_one_listening_is_retried() -> None:
    with pytest.raises(RetryableExportError, match="connection refused"):
        send("http://127.0.0.1:1/metrics")


def test_the_exporters_own_timeout_counts_when_it_is_shorter() -> None:
    with bad_server(hang()) as server, pytest.raises(RetryableExportError, match="timed out"):
        send(server.url, seconds=60, timeout="0.2s")


@pytest.mark.parametrize("padding", [0, 270, 290])
def test_a_server_that_repeats_the_key_does_not_betray_it(padding: int) -> None:
    behaviour = answer(400, body=b"x" * padding + f"you sent {TOKEN}".encode())
    with bad_server(behaviour) as server, pytest.raises(PermanentExportError) as caught:
        send(f"{server.url.replace('://', '://user:url-password@')}/in")
    assert TOKEN[:8] not in str(caught.value)
    assert "url-password" not in str(caught.value)
    assert "url-password" not in plugin.target(config("http://u:url-password@sink/in"))


def test_a_key_file_that_rotates_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    with bad_server() as server:
        made = create(PramathusConfig(type="pramathus", endpoint=server.url, api_key_file=file))
        made.export(batch(), deadline=Deadline.after(5))
        file.write_text("second-key\n")
        made.export(batch(), deadline=Deadline.after(5))
        made.close()
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer first", "Bearer second-key"]


@pytest.mark.parametrize(("status", "able"), [(204, True), (404, True), (405, True), (401, False), (503, False)])
def test_a_check_reaches_the_sink_and_delivers_nothing(status: int, able: bool) -> None:
    with bad_server(answer(status)) as server:
        made = create(config(server.url))
        if able:
            made.check()
        else:
            with pytest.raises(ExportError, match=f"HTTP {status}"):
                made.check()
        made.close()
    assert [request.method for request in server.requests] == ["OPTIONS"]


@pytest.mark.parametrize("status", [429, 503])
def test_the_sink_may_ask_for_a_pause_in_seconds_or_until_a_date(status: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for text in ("100", date):
        with bad_server(answer(status, {"Retry-After": text})) as server, pytest.raises(RetryableExportError) as caught:
            send(server.url)
        assert caught.value.retry_after == pytest.approx(100, abs=5)


@given(st.integers(FIRST_MS, LAST_MS))
def test_a_time_is_exact_to_the_millisecond_wherever_the_calendar_reaches(timestamp_ms: int) -> None:
    assert milliseconds(iso_utc(timestamp_ms)) == timestamp_ms


def test_a_time_beyond_the_calendar_is_its_end() -> None:
    assert iso_utc(10**17) == "9999-12-31T23:59:59.999Z"
    assert iso_utc(-(10**17)) == "0001-01-01T00:00:00.000Z"


def test_without_a_key_the_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="needs api_key or api_key_file"):
        PramathusConfig(type="pramathus", endpoint="http://sink")
    with pytest.raises(ValueError, match="not both"):
        PramathusConfig(type="pramathus", endpoint="http://sink", api_key=SecretStr("a"), api_key_file=Path("b"))
