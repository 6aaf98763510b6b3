"""A worker with a real queue, a real exporter, and a sink whose answers are not what one would wish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.delivery import backoff
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.exporters.builtin.http_json import HttpJsonConfig, create
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.bad_server import Behaviour, Received, answer, bad_server, html, raw

CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run")
COUNT = 40


@dataclass
class Sink:
    """Remembers keys, and stores what comes under a new one; ``instead`` are its first answers to what it stores."""

    instead: list[Behaviour] = field(default_factory=list)
    poison: int | None = None
    keys: dict[str, bytes] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)

    def judge(self, request: Received) -> Behaviour:
        self.requests.append(request)
        steps = [record["metadata"]["step"] for record in json.loads(request.body)["metrics"]]
        key = request.headers["idempotency-key"]
        if key not in self.keys:
            self.keys[key] = request.body
            self.stored += [step for step in steps if step != self.poison]
        assert self.keys[key] == request.body, "the same bytes under the same key"
        if self.instead:
            return self.instead.pop(0)
        errors = self.poison in steps
        return answer(200, {"Content-Type": "application/json"}, json.dumps({"errors": errors}).encode())


@dataclass
class Delivery:
    sink: Sink
    worker: Worker
    outbox: Outbox
    queue: QueueId

    def drain(self) -> Any:
        return self.worker.drain(Deadline.after(60), attempts=30)

    @property
    def dead(self) -> int:
        return self.outbox.ledger(self.queue).dead


@pytest.fixture
def delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Delivery]:
    monkeypatch.setattr(backoff, "FIRST", 0.001)
    monkeypatch.setattr(backoff, "PARKED", 0.02)
    sink = Sink()
    with bad_server() as server:
        server.judge = sink.judge
        database = Database(f"sqlite:///{tmp_path}/state.db")
        outbox = Outbox(database)
        queue = outbox.register(["sink"])["sink"]
        readiness = Readiness()
        exporter = create(HttpJsonConfig(type="http_json", endpoint=server.url))
        worker = Worker(
            "sink", exporter, QueueSource(outbox, queue), readiness=readiness, metrics=SelfMetrics(readiness)
        )
        samples = [Sample(CONTEXT, "loss", step, step, 0.5) for step in range(COUNT)]
        with database.write() as tx:
            outbox.enqueue(tx, queue, samples, batch_size=10)
        yield Delivery(sink, worker, outbox, queue)
        exporter.close()
        database.close()


TROUBLE = {
    "still in work": answer(409, {"Retry-After": "0"}),
    "too early": answer(425),
    "locked": answer(423),
    "half a status line": raw(b"HTTP/1.1 200"),
    "a whole header line": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    "half a body": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"ok"'),
    "half a trailer": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
    "a login page": html(),
    "a success that is not understood": answer(206),
    "an early hint alone": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_the_same_batch_is_repeated_under_its_key_and_stored_once(delivery: Delivery, trouble: str) -> None:
    delivery.sink.instead = [TROUBLE[trouble]] * 3
    outcome = delivery.drain()
    assert (outcome.delivered, outcome.set_aside, outcome.error) == (COUNT, 0, None)
    assert delivery.sink.stored == list(range(COUNT)), "each once, in order"
    assert len(delivery.sink.requests) == COUNT // 10 + 3


def test_whoever_reads_requests_and_hangs_up_in_the_middle_of_each_answer_gets_nothing_acknowledged(
    delivery: Delivery,
) -> None:
    delivery.sink.instead = [raw(b"HTTP/1.1 200 OK\r\nX: y")] * 1000
    outcome = delivery.worker.drain(Deadline.after(60), attempts=5)
    assert (outcome.delivered, outcome.set_aside) == (0, 0)
    assert "cut short" in (outcome.error or "")
    assert delivery.outbox.ledger(delivery.queue).queued == COUNT


def test_of_a_batch_with_errors_only_what_is_refused_alone_is_set_aside(delivery: Delivery) -> None:
    delivery.sink.poison = 17
    outcome = delivery.drain()
    assert (outcome.delivered, outcome.set_aside, outcome.error) == (COUNT - 1, 1, None)
    assert set(delivery.sink.stored) == set(range(COUNT)) - {17}
    assert delivery.dead == 1
