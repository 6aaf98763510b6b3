"""Against receivers made from OpenTelemetry's own types and stubs, as its protocol specification has them answer."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
import trustme
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from mlflow_monitoring_exporter.app.destinations import create_destinations
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    ExportError,
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample
from mlflow_monitoring_exporter.exporters.builtin.otlp import OtlpConfig, create
from mlflow_monitoring_exporter.exporters.builtin.otlp.messages import Encoder, metric_name
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from tests.exporters.samples import any_sample, batch
from tests.parts.bad_server import answer, bad_server
from tests.parts.otlp_receiver import PROTOBUF, Receiver, over_grpc, over_http, points_of
from tests.parts.raw_grpc import data, headers, message, raw_grpc, reset, trailers

RUN = RunContext("http://mlflow", "7", "churn", "a" * 32, "brave-fox", {"stage": "dev"}, "b" * 32, "b" * 32)
Receive = Callable[[], Receiver]


@pytest.fixture
def http() -> Iterator[Receiver]:
    with over_http() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def one_grpc() -> Iterator[Receiver]:
    with over_grpc() as receiver:
        yield receiver


@pytest.fixture
def over(one_grpc: Receiver) -> Receiver:
    """gRPC, as if nothing had happened yet."""
    one_grpc.requests.clear()
    one_grpc.headers.clear()
    one_grpc.judge = None
    return one_grpc


def send(receiver: Receiver, payload: Batch | None = None, **config: Any) -> None:
    made = create(OtlpConfig.model_validate({"type": "otlp", "endpoint": receiver.url, **config}))
    try:
        made.start()
        made.export(payload or batch(), deadline=Deadline.after(5))
    finally:
        made.close()


@pytest.fixture(params=["http", "grpc"])
def either(request: pytest.FixtureRequest) -> tuple[Receiver, dict[str, Any]]:
    fixture = "http" if request.param == "http" else "over"
    return request.getfixturevalue(fixture), {"protocol": request.param}


def test_a_compressed_body_does_not_say_when_it_was_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_server(answer(200)) as server:
        config = OtlpConfig.model_validate({"type": "otlp", "endpoint": server.url, "compression": "gzip"})
        made = create(config)
        made.export(batch(), deadline=Deadline.after(5))
        later = time.time() + 100
        monkeypatch.setattr(time, "time", lambda: later)
        made.export(batch(), deadline=Deadline.after(5))
        made.close()
    first, second = server.requests
    assert first.headers["content-encoding"] == "gzip"
    assert first.body == second.body


def test_a_point_has_all_that_is_known_of_it(either: tuple[Receiver, dict[str, Any]]) -> None:
    receiver, protocol = either
    sample = Sample(RUN, "val acc:top-5", 17, 1_790_000_000_250, 0.75)
    send(receiver, Batch("b", 0, [sample]), **protocol, service_name="ml", resource={"cloud.region": "eu"})
    (point,) = receiver.points
    assert point.metric == "mlflow.val_acc_top-5"
    assert (point.time_ns, point.value) == (1_790_000_000_250_000_000, 0.75)
    assert point.resource == {
        "service.name": "ml",
        "cloud.region": "eu",
        "mlflow.server": "http://mlflow",
        "mlflow.experiment.id": "7",
        "mlflow.experiment.name": "churn",
    }
    assert point.attributes == {
        "mlflow.metric.key": "val acc:top-5",
        "mlflow.run.id": "a" * 32,
        "mlflow.run.name": "brave-fox",
        "mlflow.parent_run.id": "b" * 32,
        "mlflow.tag.stage": "dev",
        "mlflow.step": 17,
    }


def test_the_step_may_be_left_out(http: Receiver) -> None:
    send(http, Batch("b", 0, [Sample(RUN, "loss", 1, 1, 0.0)]), step=False)
    assert "mlflow.step" not in http.points[0].attributes


def test_secrets_and_compression_go_where_they_belong(either: tuple[Receiver, dict[str, Any]], tmp_path: Path) -> None:
    receiver, protocol = either
    file = tmp_path / "headers"
    file.write_text("Api-Key: s3cret-value\n")
    send(receiver, **protocol, headers_file=str(file), token="t0ken-value")
    (headers,) = receiver.headers
    assert (headers["api-key"], headers["authorization"]) == ("s3cret-value", "Bearer t0ken-value")
    assert headers["user-agent"].startswith("mlflow-monitoring-exporter/")


@pytest.mark.parametrize("endpoint", ["", "/", "/v1/metrics", "/v1/metrics/"])
def test_the_path_is_added_unless_it_is_there(http: Receiver, endpoint: str) -> None:
    send(Receiver(http.url + endpoint))
    assert len(http.points) == 3


@given(samples=st.lists(any_sample, max_size=8))
def test_every_sample_is_one_point_or_is_named_as_impossible(samples: list[Sample]) -> None:
    encoded = Encoder({"service.name": "mlflow"}, step=True).encode(samples, 0)
    possible = [s for at, s in enumerate(samples) if at not in encoded.rejected]
    assert all(0 <= s.timestamp_ms * 10**6 < 2**64 for s in possible)
    found = sorted(
        (p.resource["mlflow.experiment.name"], p.attributes["mlflow.metric.key"], p.time_ns, repr(p.value))
        for p in points_of(encoded.request)
    )
    wanted = sorted((s.run.experiment_name, s.key, s.timestamp_ms * 10**6, repr(s.value)) for s in possible)
    assert found == wanted
    assert all(len(p.metric) <= 255 for p in points_of(encoded.request))


def test_names_are_legal_and_short_enough() -> None:
    assert metric_name("größe 日本/a-b_c.d") == "mlflow.gr__e___/a-b_c.d"
    assert len(metric_name("x" * 250)) == 255


def test_a_time_that_cannot_be_is_refused_and_the_rest_is_sent(http: Receiver) -> None:
    samples = [Sample(RUN, "loss", step, at, math.nan) for step, at in enumerate((-1, 5, 2**60))]
    with pytest.raises(PartialExportError, match="1970") as raised:
        send(http, Batch("b", 0, samples))
    assert raised.value.rejected == (0, 2)
    assert [p.time_ns for p in http.points] == [5_000_000]
    with pytest.raises(PartialExportError):
        send(http, Batch("b", 0, samples[:1]))
    assert len(http.requests) == 1, "nothing is left to send"


HTTP: dict[type[ExportError], tuple[int, ...]] = {
    RetryableExportError: (429, 502, 503, 504),
    PermanentExportError: (400, 402, 406, 408, 409, 410, 413, 415, 422, 425, 431, 500, 501, 505, 511),
    UnauthorizedExportError: (401, 403, 407),
}


@pytest.mark.parametrize(("status", "error"), [(status, error) for error, many in HTTP.items() for status in many])
def test_every_status_means_what_the_specification_says(http: Receiver, status: int, error: type[ExportError]) -> None:
    """Retryable are 429, 502, 503 and 504, and nothing else; of credentials we say that they are wrong."""
    body = Status(code=3, message="because of this").SerializeToString()
    http.judge = lambda: answer(status, PROTOBUF, body)
    with pytest.raises(error, match=f"HTTP {status}.*because of this") as raised:
        send(http)
    assert type(raised.value) is error
    assert getattr(raised.value, "divisible", False) is (status in (400, 413, 422)), "fewer points may do better"


@pytest.mark.parametrize("status", [302, 404, 405, 421])
def test_a_wrong_address_is_not_the_fault_of_the_points(http: Receiver, status: int) -> None:
    http.judge = lambda: answer(status)
    with pytest.raises(RetryableExportError, match="check its address"):
        send(http)


def test_a_pause_that_is_asked_for_is_kept(http: Receiver) -> None:
    http.judge = lambda: answer(503, {"Retry-After": "9"})
    with pytest.raises(RetryableExportError) as raised:
        send(http)
    assert raised.value.retry_after == 9


def partial(rejected: int, message: str) -> ExportMetricsServiceResponse:
    success = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    return ExportMetricsServiceResponse(partial_success=success)


def set_partial(receiver: Receiver, protocol: str, response: ExportMetricsServiceResponse) -> None:
    if protocol == "http":
        receiver.judge = lambda: answer(200, PROTOBUF, response.SerializeToString())
    else:
        receiver.judge = lambda: lambda _context: response


@pytest.mark.parametrize(("rejected", "message"), [(2, "too old"), (0, "deprecated")])
def test_a_partial_success_is_told_and_not_tried_again(
    either: tuple[Receiver, dict[str, Any]], rejected: int, message: str
) -> None:
    receiver, protocol = either
    set_partial(receiver, protocol["protocol"], partial(rejected, message))
    with structlog.testing.capture_logs() as logs:
        send(receiver, **protocol)
    (line,) = logs
    assert (line["log_level"], line["rejected"], line["of"], line["reason"]) == ("warning", rejected, 3, message)


def test_a_success_that_took_nothing_is_none(either: tuple[Receiver, dict[str, Any]]) -> None:
    receiver, protocol = either
    set_partial(receiver, protocol["protocol"], partial(3, "all too old"))
    with pytest.raises(PermanentExportError, match="rejected all 3 points: all too old"):
        send(receiver, **protocol)


def test_an_answer_that_is_no_message_counts_by_its_status(http: Receiver) -> None:
    for kind, body in (("text/plain", b"\xffok"), ("application/x-protobuf", b"\xff"), ("", b"x" * 3_000_000)):
        http.judge = lambda kind=kind, body=body: answer(200, {"Content-Type": kind}, body)
        send(http)


def test_a_page_for_people_is_no_answer_of_a_receiver(http: Receiver) -> None:
    http.judge = lambda: answer(200, {"Content-Type": "text/html"}, b"\xff<html>")
    with pytest.raises(RetryableExportError, match="is that a login page"):
        send(http)


def test_a_message_without_a_length_that_is_cut_counts_as_none(http: Receiver) -> None:
    whole = partial(3, "all too old").SerializeToString()
    http.judge = lambda: answer(200, PROTOBUF, whole[:-1], framing="connection")
    with pytest.raises(RetryableExportError, match="cut short"):
        send(http)


Code = grpc.StatusCode
GRPC: dict[type[ExportError], tuple[grpc.StatusCode, ...]] = {
    RetryableExportError: (
        *(Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.OUT_OF_RANGE, Code.UNAVAILABLE, Code.DATA_LOSS),
        Code.UNIMPLEMENTED,
    ),
    PermanentExportError: (
        *(Code.UNKNOWN, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.RESOURCE_EXHAUSTED),
        *(Code.FAILED_PRECONDITION, Code.INTERNAL),
    ),
    UnauthorizedExportError: (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED),
}


def test_every_code_of_grpc_is_in_the_table() -> None:
    assert {code for many in GRPC.values() for code in many} == set(Code) - {Code.OK}


@pytest.mark.parametrize(("code", "error"), [(code, error) for error, many in GRPC.items() for code in many])
def test_every_code_means_what_the_specification_says(over: Receiver, code: Any, error: type[ExportError]) -> None:
    over.judge = lambda: lambda context: context.abort(code, "because of this")
    with pytest.raises(error, match=f"{code.name}: because of this") as raised:
        send(over, protocol="grpc")
    assert type(raised.value) is error


def test_only_a_refusal_of_the_points_is_looked_into(over: Receiver) -> None:
    for code, divisible in ((Code.INVALID_ARGUMENT, True), (Code.RESOURCE_EXHAUSTED, True), (Code.INTERNAL, False)):
        over.judge = lambda code=code: lambda context: context.abort(code, "no")
        with pytest.raises(PermanentExportError) as raised:
            send(over, protocol="grpc")
        assert raised.value.divisible is divisible


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE])
def test_a_receiver_that_is_exhausted_is_asked_again_when_it_says_when(over: Receiver, code: Any) -> None:
    info = AnyMessage()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=4, nanos=500_000_000)))
    details = Status(code=code.value[0], message="slow down", details=[info]).SerializeToString()

    def exhausted(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(code, "slow down")

    over.judge = lambda: exhausted
    with pytest.raises(RetryableExportError) as raised:
        send(over, protocol="grpc")
    assert raised.value.retry_after == 4.5


def test_a_channel_is_encrypted_for_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    with over_grpc(grpc.ssl_server_credentials([pair])) as receiver:
        send(receiver, protocol="grpc", ca_file=str(ca_file))
        assert len(receiver.points) == 3
        with pytest.raises(RetryableExportError, match="UNAVAILABLE"):
            send(receiver, protocol="grpc", timeout="2s")
    with pytest.raises(ConfigError, match="cannot read ca_file"):
        send(receiver, protocol="grpc", ca_file=str(tmp_path / "nothing"))


def test_what_is_sent_is_compressed_unless_told_otherwise(http: Receiver) -> None:
    send(http)
    send(http, compression="none")
    assert [headers.get("content-encoding") for headers in http.headers] == ["gzip", None]


def test_without_grpc_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "mlflow_monitoring_exporter.exporters.builtin.otlp.over_grpc", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'mlflow-monitoring-exporter\[otlp\]'"):
        create(OtlpConfig(type="otlp", endpoint="http://a", protocol="grpc"))


def test_a_configuration_that_needs_it_is_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "mlflow_monitoring_exporter.exporters.builtin.otlp.over_grpc", raising=False)
    plugins = load_plugins()
    keys = {"type": "otlp", "endpoint": "http://a", "protocol": "grpc"}
    flags = [("--set", f"exporters.collector.{key}", value) for key, value in keys.items()]
    config = load_config(None, exporter_types=plugins.config_types, environ={}, flags=flags)
    with pytest.raises(ConfigError, match=r"^exporters\.collector: protocol: grpc: .*grpc.*: pip install"):
        create_destinations(config, plugins)


def test_a_point_from_the_future_has_the_time_when_it_was_read(http: Receiver) -> None:
    read_ms = 1_790_000_000_000
    times = [read_ms * 1000, read_ms - 5, read_ms * 10**6, read_ms + 1000]
    payload = Batch("b", read_ms, [Sample(RUN, "loss", step, at, float(step)) for step, at in enumerate(times)])
    for _ in range(2):
        send(http, payload)
    sent = [(point.time_ns // 10**6 - read_ms, point.value) for point in http.points]
    assert sent == [(0, 0.0), (-5, 1.0), (1, 2.0), (1000, 3.0)] * 2, "however often it is sent"


def test_no_attribute_is_longer_than_receivers_take(http: Receiver) -> None:
    runs = [replace(RUN, experiment_name="x" * 5000 + end, tags={"note": "é" * 5000 + end}) for end in "ab"]
    send(http, Batch("b", 0, [Sample(run, "loss", 1, 1, 0.0) for run in runs]))
    for texts in zip(*([p.resource["mlflow.experiment.name"], p.attributes["mlflow.tag.note"]] for p in http.points)):  # noqa: B905
        assert len(set(texts)) == 2
        assert all(len(str(text).encode()) <= 2048 for text in texts)


WHOLE = headers() + message(b"") + trailers(0)
NO_ANSWERS = {
    "no status in the trailers": headers() + message(b"") + trailers(None),
    "no trailers": headers() + message(b"", end=True),
    "a head and nothing more": headers(end=True),
    "success without a message": headers() + trailers(0),
    "success in the head": headers(end=True, grpc_status="0"),
    "success after half a message": headers() + data(b"\0\0\0\0\5ab") + trailers(0),
    "success after nonsense": headers() + data(b"\0\0\0\0\2\xff\xff") + trailers(0),
    "a login page": headers("text/html") + data(b"<html>", end=True),
    "a login page in HTTP/1": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    **{f"a reset, code {code}": headers() + reset(code) for code in (0, 1, 2, 5, 7, 8, 11, 13)},
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_over_grpc_is_tried_again(what: str) -> None:
    with raw_grpc(NO_ANSWERS[what]) as url, pytest.raises(RetryableExportError):
        send(Receiver(url), protocol="grpc")


def test_an_honest_answer_over_grpc_that_is_cut_at_any_byte_is_none() -> None:
    with raw_grpc(WHOLE) as url:
        send(Receiver(url), protocol="grpc")
    for end in range(len(WHOLE)):
        # Each from a server of its own: gRPC shares connections to one address.
        with raw_grpc(WHOLE[:end]) as url, pytest.raises(RetryableExportError):
            send(Receiver(url), protocol="grpc")
