"""Queue, worker and exporter under every fault that the local misbehaving server knows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.delivery import backoff
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.exporters.builtin.pramathus import PramathusConfig, create
from mlflow_monitoring_exporter.state import outbox as outbox_module
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import Ledger
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.bad_server import (
    Behaviour,
    Received,
    answer,
    bad_server,
    close,
    cut_short,
    drip,
    hang,
    raw,
    redirect,
    reset,
    slowly,
)
from tests.parts.scaled import scaled
from tests.parts.strict_peer import TOKEN, StrictPeer, strict_peer

pytestmark = pytest.mark.timeout(1800)
CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run", {"owner": "me"})
TIMEOUT = 0.25


class Sink:
    """A queue and a worker that sends to ``url``."""

    def __init__(self, directory: Path, url: str) -> None:
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.outbox = Outbox(self.database)
        self.queue_id = self.outbox.register(["sink"])["sink"]
        config = PramathusConfig.model_validate(
            {"type": "pramathus", "endpoint": url, "api_key": SecretStr(TOKEN), "timeout": TIMEOUT}
        )
        readiness = Readiness()
        self.exporter = create(config)
        feed = QueueSource(self.outbox, self.queue_id)
        self.worker = Worker("sink", self.exporter, feed, readiness=readiness, metrics=SelfMetrics(readiness))

    def queue(self, steps: range, *, batch_size: int = 500) -> None:
        samples = [Sample(CONTEXT, "loss", step, step, step / 4) for step in steps]
        with self.database.write() as tx:
            self.outbox.enqueue(tx, self.queue_id, samples, batch_size=batch_size)
        self.worker.wake()

    @property
    def ledger(self) -> Ledger:
        ledger = self.outbox.ledger(self.queue_id)
        assert ledger.balanced, "at every instant"
        return ledger

    def close(self) -> None:
        self.exporter.close()
        self.database.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Sink]]:
    made: list[Sink] = []

    def start(url: str) -> Sink:
        made.append(Sink(tmp_path, url))
        return made[-1]

    yield start
    for sink in made:
        sink.close()


class Chaos:
    """Answers at random, and remembers what it took, when it asked for a pause, and who did not keep it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.peer = StrictPeer("http://unused", [])
        self.not_before = 0.0
        self.too_early: list[float] = []
        self.pauses = 0
        self.faults = 0

    def judge(self, request: Received) -> Behaviour:
        now = time.time()
        if request.method == "POST" and now < self.not_before:
            self.too_early.append(self.not_before - now)
        if request.method != "POST" or self.dice.random() < 0.7:
            return self.peer.judge(request)
        self.faults += 1
        if self.pauses < scaled(4, 40) and self.dice.random() < 0.05:
            return self._pause()
        faults: tuple[Behaviour, ...] = (
            answer(500, body=b"out of order"),
            answer(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"),
            answer(503, {"Retry-After": "nonsense"}),
            answer(429, {"Retry-After": "0"}),
            answer(408),
            answer(404),
            redirect("http://127.0.0.1:1/elsewhere"),
            close(),
            reset(),
            cut_short(),
            raw(b"complete nonsense\r\n\r\n"),
            # It took the batch, and the answer was lost: the same batch comes again.
            self._lost(request),
            *((hang(), drip("headers"), drip("body"), slowly(2.0)) if self.dice.random() < 0.1 else ()),
        )
        return self.dice.choice(faults)

    def _lost(self, request: Received) -> Behaviour:
        self.peer.judge(request)
        return close()

    def _pause(self) -> Behaviour:
        self.pauses += 1
        if self.dice.random() < 0.5:
            self.not_before = time.time() + 1
            return answer(429, {"Retry-After": "1"})
        # A date has whole seconds only.
        until = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
        self.not_before = until.timestamp()
        return answer(503, {"Retry-After": format_datetime(until, usegmt=True)})


def test_under_every_fault_at_random_nothing_is_lost_and_every_promise_kept(
    start: Callable[[str], Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.001)
    monkeypatch.setattr(backoff, "LONGEST", 0.01)
    batches = scaled(400, 10_000)
    chaos = Chaos(seed=batches)
    longest: list[float] = []
    with bad_server() as server:
        server.judge = chaos.judge
        sink = start(f"{server.url}/api/v1/metrics")
        real = sink.exporter.export

        def timed(payload: object, *, deadline: Deadline) -> None:
            began = time.monotonic()
            try:
                real(payload, deadline=deadline)  # type: ignore[arg-type]
            finally:
                longest.append(time.monotonic() - began)

        monkeypatch.setattr(sink.exporter, "export", timed)
        sink.queue(range(batches), batch_size=1)
        workers = Workers([sink.worker])
        workers.start()
        end = time.monotonic() + 1500
        while sink.ledger.queued:
            assert time.monotonic() < end
            time.sleep(0.05)
        workers.stop(Deadline.after(10))
    chaos.peer.accept_all_or_fail()
    assert [sample["metadata"]["step"] for sample in chaos.peer.samples] == list(range(batches)), "each once, in order"
    assert chaos.peer.repeats > 0, "answers were lost"
    assert chaos.pauses > 0
    assert chaos.too_early == []
    assert chaos.faults > batches // 5
    assert max(longest) < TIMEOUT + 1.0, "no request outlived its deadline"
    assert (sink.ledger.delivered, sink.ledger.dead) == (batches, 0)


def test_an_hour_without_the_sink_is_caught_up_with_in_minutes(
    start: Callable[[str], Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = scaled(12, 60)
    clock = 1_790_000_000_000
    monkeypatch.setattr(outbox_module, "now_ms", lambda: clock)
    with strict_peer() as peer:
        peer.trouble = answer(503)
        sink = start(peer.url)
        ages = []
        for minute in range(minutes):
            sink.queue(range(minute * 1000, minute * 1000 + 1000))
            assert sink.worker.drain(Deadline.after(5), attempts=1).error is not None
            clock += 60_000
            ages.append(clock - (sink.ledger.oldest_ms or clock))
        assert ages == [60_000 * (minute + 1) for minute in range(minutes)], "the oldest grows older"
        peer.trouble = None
        began = time.monotonic()
        # A busy machine may let a request time out, which is tried again.
        while (drained := sink.worker.drain(Deadline.after(300), attempts=3)).error is not None:
            assert time.monotonic() - began < 300, drained.error
        assert sink.ledger.oldest_ms is None
        peer.accept_all_or_fail()
        assert [sample["metadata"]["step"] for sample in peer.samples] == list(range(minutes * 1000))


def test_the_ledger_balances_while_everything_moves(start: Callable[[str], Sink]) -> None:
    with bad_server(answer(200)) as server:
        sink = start(server.url)
        workers = Workers([sink.worker])
        stop = threading.Event()
        unbalanced: list[Ledger] = []

        def watch() -> None:
            while not stop.is_set():
                ledger = sink.outbox.ledger(sink.queue_id)
                if not ledger.balanced:
                    unbalanced.append(ledger)

        watcher = threading.Thread(target=watch)
        watcher.start()
        workers.start()
        for first in range(0, scaled(3000, 30_000), 100):
            sink.queue(range(first, first + 100), batch_size=7)
        while sink.ledger.queued:
            time.sleep(0.01)
        stop.set()
        watcher.join()
        workers.stop(Deadline.after(5))
    assert unbalanced == []
