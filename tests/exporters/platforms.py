"""The other side of each built-in exporter, as the contract's tests need it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import threading
import time
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import cramjam
import grpc
import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mlflow_monitoring_exporter.exporters.builtin.prometheus import PrometheusExporter
from mlflow_monitoring_exporter.exporters.write_request import WriteRequest
from mlflow_monitoring_exporter.testing import Fault, HttpPlatform, Reply, Request
from tests.parts.otlp_receiver import over_grpc, points_of

SECRET = "pl4nted-s3cret"
TIMEOUT = "300ms"


class JsonPlatform(HttpPlatform):
    """A sink that knows a batch again by its key."""

    secrets: Collection[str] = (SECRET,)

    def settings(self) -> Mapping[str, Any]:
        return {"endpoint": f"{self.url}/in", "api_key": SECRET, "timeout": TIMEOUT}

    def read(self, request: Request) -> Iterable[Hashable]:
        if request.method == "OPTIONS":
            return []
        records = orjson.loads(request.body)["metrics"]
        return [(request.headers["idempotency-key"], place) for place in range(len(records))]


class TemplatePlatform(JsonPlatform):
    def settings(self) -> Mapping[str, Any]:
        return {"endpoint": self.url, "headers": {"X-Key": SECRET}, "token": f"t-{SECRET}", "timeout": TIMEOUT}


class RemoteWritePlatform(HttpPlatform):
    """A receiver of 1.0."""

    secrets: Collection[str] = (SECRET,)

    def settings(self) -> Mapping[str, Any]:
        url = self.url.replace("//", f"//writer:{SECRET}@")
        return {"url": f"{url}/api/v1/write", "headers": f"X-Scope-OrgID: {SECRET}-2", "timeout": TIMEOUT}

    def read(self, request: Request) -> Iterable[Hashable]:
        if request.headers["x-prometheus-remote-write-version"] != "0.1.0":
            return
        for series in WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(request.body))).timeseries:
            labels = tuple((label.name, label.value) for label in series.labels)
            yield from ((labels, sample.timestamp) for sample in series.samples)


class InfluxPlatform(HttpPlatform):
    secrets: Collection[str] = (SECRET,)

    def settings(self) -> Mapping[str, Any]:
        return {"url": self.url, "org": "acme", "bucket": "mlflow", "token": SECRET, "timeout": TIMEOUT}

    def read(self, request: Request) -> Iterable[Hashable]:
        parts = urlsplit(request.path)
        if (parts.path, parse_qs(parts.query)["precision"]) != ("/api/v2/write", ["ms"]):
            raise ValueError(request.path)
        for line in request.body.decode().splitlines():
            match = re.fullmatch(r"(mlflow(?:,(?:[^, =\\]|\\[, =])+=(?:[^, =\\]|\\[, =])+)+) (\S+) (-?\d+)", line)
            if match is None:
                raise ValueError(line)
            yield match[1], match[3]


class OtlpHttpPlatform(HttpPlatform):
    secrets: Collection[str] = (SECRET,)

    def settings(self) -> Mapping[str, Any]:
        credentials = {"username": "writer", "password": SECRET}
        return {"endpoint": self.url, **credentials, "compression": "none", "timeout": TIMEOUT}

    def read(self, request: Request) -> Iterable[Hashable]:
        for point in points_of(ExportMetricsServiceRequest.FromString(request.body)):
            yield point.metric, *sorted(point.attributes.items()), point.time_ns


class OtlpGrpcPlatform:
    secrets: Collection[str] = (SECRET,)
    codes = {  # noqa: RUF012 - a test's table
        Fault.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        Fault.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
        Fault.REFUSING: grpc.StatusCode.INVALID_ARGUMENT,
    }

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._fault: Fault | None = None
        self._server = over_grpc()
        self.receiver = self._server.__enter__()
        self.receiver.judge = self._judge
        self._touched = False
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.__exit__(None, None, None)

    def settings(self) -> Mapping[str, Any]:
        return {"endpoint": self.receiver.url, "protocol": "grpc", "token": SECRET, "timeout": TIMEOUT}

    def contacted(self) -> bool:
        return self._touched

    def received(self) -> Collection[Hashable]:
        return {(p.metric, *sorted(p.attributes.items()), p.time_ns) for p in self.receiver.points}

    def suffer(self, fault: Fault | None) -> None:
        self._fault = fault

    def _judge(self) -> Any:
        self._touched = True
        if self._fault is Fault.SILENT:
            return lambda _context: self._stopping.wait()
        if self._fault is not None:
            return lambda context: context.abort(self.codes[self._fault], f"no: {SECRET}")
        return None


class PushgatewayPlatform(HttpPlatform):
    """As much of a Pushgateway as its groups and their listing."""

    secrets: Collection[str] = (SECRET,)

    def __enter__(self) -> Self:
        self.groups: dict[str, tuple[float, list[str]]] = {}
        return super().__enter__()

    def settings(self) -> Mapping[str, Any]:
        return {"gateway": self.url, "username": "pusher", "password": SECRET, "timeout": TIMEOUT}

    def read(self, request: Request) -> Iterable[Hashable]:
        if request.method == "PUT":
            lines = request.body.decode().splitlines()
            self.groups[request.path] = (time.time(), [line for line in lines if line[0] != "#"])
        elif request.method == "DELETE":
            del self.groups[request.path]
        return []

    def received(self) -> Collection[Hashable]:
        return [(path, line) for path, (_, lines) in self.groups.items() for line in lines]

    def reply(self, request: Request) -> Reply:
        date = {"Date": time.strftime("%a, %d %b %Y %T GMT", time.gmtime())}
        if request.method != "GET":
            return Reply(200, date)
        listing = [
            {
                "labels": {"job": job, "experiment_id": unquote(experiment)},
                "push_time_seconds": {"metrics": [{"value": str(at)}]},
            }
            for path, (at, _) in self.groups.items()
            for _, _, _, job, _, experiment in [path.split("/")]
        ]
        return Reply(200, date, orjson.dumps({"data": listing}))


class FilePlatform:
    """A file on a disk that may forbid to write."""

    secrets: Collection[str] = ()

    def __init__(self, directory: Path) -> None:
        self._path = directory / "not" / "yet" / "metrics.jsonl"

    def settings(self) -> Mapping[str, Any]:
        return {"path": str(self._path)}

    def contacted(self) -> bool:
        return self._path.parent.exists()

    def received(self) -> Collection[Hashable]:
        records = [json.loads(line) for line in self._path.read_text().splitlines()]
        return {(r["name"], r["timestamp"], r["metadata"]["run_id"], r["metadata"]["step"]) for r in records}

    def suffer(self, fault: Fault | None) -> None:
        """Root may write anywhere but into a directory that is a file."""
        place = self._path.parent
        if fault is None:
            place.unlink()
            place.mkdir()
        else:
            shutil.rmtree(place)
            place.touch()


class ScrapedPlatform:
    """Whoever scrapes."""

    secrets: Collection[str] = ()

    def __init__(self) -> None:
        self.exporter: PrometheusExporter | None = None

    def settings(self) -> Mapping[str, Any]:
        return {}

    def contacted(self) -> bool:
        return False

    def received(self) -> Collection[Hashable]:
        assert self.exporter is not None
        return [line for line in self.exporter.page.plain(openmetrics=False).splitlines() if not line.startswith(b"#")]

    def suffer(self, fault: Fault | None) -> None:
        raise AssertionError(fault)


class StatsdPlatform:
    """A server that cannot answer; what is sent to a closed port comes back as an error, once."""

    secrets: Collection[str] = ()

    def __enter__(self) -> Self:
        self._open()
        self._port: int = self._socket.getsockname()[1]
        self._names: dict[str, str] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _open(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        self._socket.bind(("127.0.0.1", port))

    def settings(self) -> Mapping[str, Any]:
        return {"host": "127.0.0.1", "port": self._port}

    def contacted(self) -> bool:
        return bool(self.received())

    def received(self) -> Collection[Hashable]:
        while True:
            try:
                datagram = self._socket.recv(65536)
            except BlockingIOError:
                return list(self._names)
            assert len(datagram) <= 1432
            for line in datagram.decode().splitlines():
                name, value, tags = line.split("|")[0].partition(":")[0], line.split("|")[0], line.partition("|#")[2]
                assert re.fullmatch(r"[a-z_]+:-?[\d.e-]+\|g\|#[^|\n]+", line), line
                self._names[f"{name} {tags}"] = value

    def suffer(self, fault: Fault | None) -> None:
        raise AssertionError(fault)
