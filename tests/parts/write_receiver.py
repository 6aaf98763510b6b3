"""A receiver of Prometheus remote write that looks closely: 1.0, 2.0, or both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cramjam

from mlflow_monitoring_exporter.exporters.write_request import Request, WriteRequest
from tests.parts.bad_server import BadServer, Behaviour, Received, answer, bad_server

V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


@dataclass(frozen=True, slots=True)
class Series:
    """One series of one request, as it arrived."""

    labels: Sequence[tuple[str, str]]
    samples: Sequence[tuple[int, float]]


@dataclass
class WriteReceiver:
    """``speaks`` are the versions that it understands; ``trouble`` is what it answers instead, first come first."""

    url: str
    server: BadServer
    speaks: Sequence[str]
    accepted: list[tuple[str, list[Series]]] = field(default_factory=list)
    trouble: list[Behaviour] = field(default_factory=list)

    @property
    def requests(self) -> list[Received]:
        return self.server.requests

    @property
    def series(self) -> list[Series]:
        return [series for _, request in self.accepted for series in request]

    def samples(self) -> list[tuple[dict[str, str], int, float]]:
        return [(dict(series.labels), at, value) for series in self.series for at, value in series.samples]

    def take(self, request: Received) -> Behaviour:
        if self.trouble:
            return self.trouble.pop(0)
        version = "v2" if request.headers["content-type"] == V2 else "v1"
        if version not in self.speaks:
            # As the specification has it for 1.0: it reads the fields that it knows, which are none, and is content.
            return answer(204) if version == "v2" else answer(415)
        message = bytes(cramjam.snappy.decompress_raw(request.body))
        found = list(_v2(Request.FromString(message)) if version == "v2" else _v1(WriteRequest.FromString(message)))
        self.accepted.append((version, found))
        written = str(sum(len(series.samples) for series in found))
        return answer(204, {"X-Prometheus-Remote-Write-Samples-Written": written} if version == "v2" else {})


def _v1(request: Any) -> Iterator[Series]:
    for series in request.timeseries:
        yield Series(
            [(label.name, label.value) for label in series.labels],
            [(sample.timestamp, sample.value) for sample in series.samples],
        )


def _v2(request: Any) -> Iterator[Series]:
    symbols = list(request.symbols)
    assert symbols[:1] in ([""], []), "the first symbol is the empty text"
    assert len(set(symbols)) == len(symbols), "each text is there once"
    for series in request.timeseries:
        refs = list(series.labels_refs)
        assert len(refs) % 2 == 0
        assert series.metadata.type == 2, "a gauge"
        texts = [symbols[ref] for ref in refs]
        yield Series(
            list(zip(texts[::2], texts[1::2], strict=True)),
            [(sample.timestamp, sample.value) for sample in series.samples],
        )


@contextmanager
def write_receiver(*speaks: str) -> Iterator[WriteReceiver]:
    with bad_server() as server:
        receiver = WriteReceiver(f"{server.url}/api/v1/write", server, speaks)
        server.judge = receiver.take
        yield receiver
