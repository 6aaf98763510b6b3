"""Receivers of OTLP made from OpenTelemetry's own types and stubs: one over HTTP, one over gRPC."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as stubs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from tests.parts.bad_server import Behaviour, Received, answer, bad_server

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclass(frozen=True, slots=True)
class Point:
    """One point as it arrived."""

    resource: Mapping[str, Any]
    metric: str
    attributes: Mapping[str, Any]
    time_ns: int
    value: float


@dataclass
class Receiver:
    """``judge`` decides over each request, if set: an answer that is not the good one."""

    url: str
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    judge: Callable[[], Any] | None = None

    @property
    def points(self) -> list[Point]:
        return [point for request in self.requests for point in points_of(request)]


def points_of(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            assert scope.scope.name == "mlflow-monitoring-exporter"
            for metric in scope.metrics:
                assert metric.WhichOneof("data") == "gauge"
                for point in metric.gauge.data_points:
                    assert point.WhichOneof("value") == "as_double"
                    yield Point(
                        _plain(group.resource.attributes),
                        metric.name,
                        _plain(point.attributes),
                        point.time_unix_nano,
                        point.as_double,
                    )


def _plain(attributes: Sequence[Any]) -> dict[str, Any]:
    plain = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
    assert len(plain) == len(attributes), "keys of attributes must be unique"
    return plain


@contextmanager
def over_http() -> Iterator[Receiver]:
    with bad_server() as server:
        receiver = Receiver(server.url)

        def take(request: Received) -> Behaviour:
            if receiver.judge is not None and (other := receiver.judge()) is not None:
                return other  # type: ignore[no-any-return]
            if request.path != "/v1/metrics" or request.headers["content-type"] != "application/x-protobuf":
                return answer(404)
            zipped = request.headers.get("content-encoding") == "gzip"
            body = gzip.decompress(request.body) if zipped else request.body
            receiver.headers.append(request.headers)
            receiver.requests.append(ExportMetricsServiceRequest.FromString(body))
            return answer(200, PROTOBUF, ExportMetricsServiceResponse().SerializeToString())

        server.judge = take
        yield receiver


class _Service(stubs.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def Export(self, request: ExportMetricsServiceRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        if self.receiver.judge is not None and (other := self.receiver.judge()) is not None:
            return other(context)
        metadata: Any = context.invocation_metadata()
        self.receiver.headers.append({name: value for name, value in metadata})  # noqa: C416 - its type is not a pair's
        self.receiver.requests.append(request)
        return ExportMetricsServiceResponse()


@contextmanager
def over_grpc(credentials: grpc.ServerCredentials | None = None) -> Iterator[Receiver]:
    pool = futures.ThreadPoolExecutor(4)
    everybody = threading.Barrier(5)
    for _ in range(4):  # all of its threads are there from the start, so that no test takes a new one for its own
        pool.submit(everybody.wait)
    everybody.wait()
    server = grpc.server(pool)
    if credentials is None:
        receiver = Receiver(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    else:
        receiver = Receiver(f"https://127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}")
    stubs.add_MetricsServiceServicer_to_server(_Service(receiver), server)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()
