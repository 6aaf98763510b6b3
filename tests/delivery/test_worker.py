"""A worker and its exporter's every way to fail. The queue is real; only the platform is a fake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    StateFullError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample, Snapshot
from mlflow_monitoring_exporter.delivery import backoff, worker
from mlflow_monitoring_exporter.delivery.bisection import EXPORT_TIMEOUT
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource, SnapshotSource
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.outbox import Outbox, QueuedBatch
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.telemetry.exporter_metrics import State
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.dead_samples import dead_samples

CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run")


@dataclass
class Platform:
    """Raises what it is told to, one error per attempt; then takes everything."""

    trouble: list[Exception] = field(default_factory=list)
    got: list[Batch | Snapshot] = field(default_factory=list)
    attempts: int = 0
    checks: int = 0
    ill: Exception | None = None
    poison: set[int] = field(default_factory=set)

    def start(self) -> None: ...

    def check(self) -> None:
        self.checks += 1
        if self.ill is not None:
            raise self.ill

    def export(self, payload: Batch | Snapshot, *, deadline: Deadline) -> None:
        assert 0 < deadline.remaining() <= EXPORT_TIMEOUT
        self.attempts += 1
        if self.trouble:
            raise self.trouble.pop(0)
        if isinstance(payload, Batch) and any(sample.step in self.poison for sample in payload.samples):
            raise PermanentExportError("HTTP 422", status=422)
        self.got.append(payload)

    def close(self) -> None: ...

    @property
    def steps(self) -> list[int]:
        return [sample.step for batch in self.got if isinstance(batch, Batch) for sample in batch.samples]


@dataclass
class Sink:
    """A platform, its worker and its queue."""

    platform: Platform
    worker: Worker
    source: QueueSource
    outbox: Outbox
    queue_id: QueueId
    database: Database
    readiness: Readiness
    metrics: SelfMetrics

    def queue(self, count: int, batch_size: int = 10) -> None:
        samples = [Sample(CONTEXT, "loss", step, step, 0.5) for step in range(count)]
        with self.database.write() as tx:
            self.outbox.enqueue(tx, self.queue_id, samples, batch_size=batch_size)
        self.worker.wake()

    @property
    def waiting(self) -> int:
        return self.outbox.ledger(self.queue_id).queued

    @property
    def dead(self) -> int:
        return self.outbox.ledger(self.queue_id).dead

    @property
    def dead_steps(self) -> list[int]:
        letters = DeadLetters(self.database)
        return sorted(sample.step for letter in letters.all() for sample in dead_samples(letters, letter.number))

    @property
    def delivered(self) -> int:
        ledger = self.outbox.ledger(self.queue_id)
        assert ledger.balanced
        return ledger.delivered

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"exporter": "sink", **labels}) or 0.0


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    readiness, platform = Readiness(), Platform()
    metrics = SelfMetrics(readiness)
    source = QueueSource(outbox, queue)
    made = Worker("sink", platform, source, readiness=readiness, metrics=metrics)
    yield Sink(platform, made, source, outbox, queue, database, readiness, metrics)
    database.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.001)
    monkeypatch.setattr(backoff, "PARKED", 0.02)
    monkeypatch.setattr(worker, "_PROBE_EVERY", 0.02)


@pytest.fixture
def running(sink: Sink) -> Iterator[Sink]:
    workers = Workers([sink.worker])
    workers.start()
    yield sink
    workers.stop(Deadline.after(5))


def eventually(question: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not question():
        assert time.monotonic() < end, "did not happen within 10 s"
        time.sleep(0.005)


def test_a_backlog_is_delivered_in_order_and_nothing_is_left(sink: Sink) -> None:
    sink.queue(95)
    drained = sink.worker.drain(Deadline.after(10), attempts=3)
    assert (drained.delivered, drained.set_aside, drained.error) == (95, 0, None)
    assert sink.platform.steps == list(range(95))
    assert sink.waiting == 0
    assert sink.delivered == 95


def test_draining_gives_up_after_so_many_attempts_and_keeps_everything(sink: Sink) -> None:
    sink.queue(20)
    sink.platform.trouble = [RetryableExportError("connection refused", retry_after=0) for _ in range(99)]
    drained = sink.worker.drain(Deadline.after(10), attempts=3)
    assert (drained.delivered, drained.error) == (0, "connection refused")
    assert sink.platform.attempts == 3
    assert sink.waiting == 20
    assert sink.metric("mlflow_exporter_samples_retried_total") == 30


def test_draining_does_not_wait_for_longer_than_it_may(sink: Sink) -> None:
    sink.queue(1)
    sink.platform.trouble = [RetryableExportError("busy", retry_after=3600)]
    started = time.monotonic()
    assert sink.worker.drain(Deadline.after(2), attempts=3).error == "busy"
    assert time.monotonic() - started < 1.5, "it gave up at once instead of waiting in vain"


def test_a_refused_batch_is_bisected_until_only_the_poison_is_set_aside(sink: Sink) -> None:
    sink.queue(300, batch_size=100)
    sink.platform.poison = {7, 123, 124, 299}
    drained = sink.worker.drain(Deadline.after(10), attempts=1)
    assert (drained.delivered, drained.set_aside, drained.error) == (296, 4, None)
    assert sorted(sink.platform.steps) == [step for step in range(300) if step not in sink.platform.poison]
    assert sink.dead_steps == sorted(sink.platform.poison)
    letters = DeadLetters(sink.database)
    assert {letter.status for letter in letters.all()} == {422}
    assert all(letter.first_ms <= letter.last_ms for letter in letters.all())
    assert sink.platform.attempts < 80


def test_a_platform_that_refuses_everything_is_not_asked_for_every_sample(sink: Sink) -> None:
    sink.queue(500, batch_size=500)
    sink.platform.poison = set(range(500))
    assert sink.worker.drain(Deadline.after(10), attempts=1).set_aside == 500
    assert sink.platform.attempts <= 120


def test_a_refusal_that_is_not_about_samples_is_taken_at_its_word(sink: Sink) -> None:
    sink.queue(8, batch_size=8)
    sink.platform.trouble = [PermanentExportError("500", divisible=False)]
    assert sink.worker.drain(Deadline.after(10), attempts=1).set_aside == 8
    assert sink.platform.attempts == 1


def test_a_bisection_that_is_cut_short_begins_again_with_the_same_ids(sink: Sink) -> None:
    sink.queue(8)
    sink.platform.poison = {5}
    sink.platform.trouble = [PermanentExportError("422"), RetryableExportError("down", retry_after=0)]
    assert sink.worker.drain(Deadline.after(10), attempts=1).error == "down"
    assert sink.waiting == 8
    assert sink.worker.drain(Deadline.after(10), attempts=1).error is None
    ids = [batch.batch_id for batch in sink.platform.got if isinstance(batch, Batch)]
    assert len(set(ids)) == len(ids)
    assert (sink.waiting, sink.dead, sink.delivered) == (0, 1, 7)


def test_what_a_platform_takes_in_part_is_settled_in_part(sink: Sink) -> None:
    sink.queue(20)
    sink.platform.trouble = [PartialExportError("3 refused", rejected=[0, 1, 2])]
    drained = sink.worker.drain(Deadline.after(10), attempts=1)
    assert (drained.delivered, drained.set_aside, drained.error) == (17, 3, None)
    assert (sink.dead, sink.delivered) == (3, 17)


@dataclass
class Particular(Platform):
    """Takes four samples at a time, and of these what it likes."""

    def export(self, payload: Batch | Snapshot, *, deadline: Deadline) -> None:
        assert isinstance(payload, Batch)
        if len(payload.samples) > 4:
            raise PermanentExportError("HTTP 413", status=413)
        rejected = [at for at, sample in enumerate(payload.samples) if sample.step in self.poison]
        if rejected:
            raise PartialExportError("not these", rejected=rejected)


def test_what_is_refused_of_a_half_are_the_samples_of_that_half(sink: Sink) -> None:
    sink.queue(16, batch_size=16)
    sink.platform = Particular(poison={1, 6, 14, 15})
    picky = Worker("sink", sink.platform, sink.source, readiness=sink.readiness, metrics=sink.metrics)
    drained = picky.drain(Deadline.after(10), attempts=1)
    assert (drained.delivered, drained.set_aside, drained.error) == (12, 4, None)
    assert sink.dead_steps == [1, 6, 14, 15]


def test_a_full_disk_does_not_make_the_platform_get_everything_twice(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.queue(10)
    real, failures = sink.outbox.acknowledge, [StateFullError("the disk is full")] * 3

    def acknowledge(queued: QueuedBatch) -> None:
        if failures:
            raise failures.pop()
        real(queued)

    monkeypatch.setattr(sink.outbox, "acknowledge", acknowledge)
    assert sink.worker.drain(Deadline.after(10), attempts=2).error == "the disk is full"
    assert sink.worker.drain(Deadline.after(10), attempts=2).error is None
    assert sink.platform.attempts == 1
    assert (sink.waiting, sink.delivered) == (0, 10)


def test_five_failures_in_a_row_open_it_and_one_success_closes_it(sink: Sink) -> None:
    sink.readiness.good("exporters.sink")
    sink.queue(1)
    for failures in range(1, 6):
        sink.platform.trouble = [RetryableExportError("down", retry_after=0)]
        sink.worker.drain(Deadline.after(10), attempts=1)
        assert sink.readiness.ready == (failures < 5)
        assert sink.worker.state is (State.closed if failures < 5 else State.backing_off)
    assert sink.metric("mlflow_exporter_state", state="backing_off") == 1
    assert sink.worker.drain(Deadline.after(10), attempts=1).delivered == 1
    assert sink.readiness.ready
    assert sink.metric("mlflow_exporter_state", state="closed") == 1
    assert sink.metric("mlflow_exporter_state", state="backing_off") == 0


def test_a_platform_that_asks_for_a_long_pause_is_unable_at_once(sink: Sink) -> None:
    sink.readiness.good("exporters.sink")
    sink.queue(1)
    sink.platform.trouble = [RetryableExportError("maintenance", retry_after=600)]
    sink.worker.drain(Deadline.after(1), attempts=1)
    assert not sink.readiness.ready


def test_a_running_worker_recovers_from_an_outage_by_itself(running: Sink) -> None:
    eventually(lambda: running.readiness.ready)
    running.platform.trouble = [RetryableExportError("down", retry_after=0.01) for _ in range(8)]
    running.queue(15)
    eventually(lambda: running.waiting == 0)
    assert running.platform.steps == list(range(15))
    assert running.platform.attempts == 10
    eventually(lambda: running.readiness.ready)
    assert running.worker.state is State.closed
    assert running.metric("mlflow_exporter_exports_total", result="retry") == 8


def test_wrong_credentials_park_the_exporter_and_lose_nothing(running: Sink) -> None:
    running.platform.trouble = [UnauthorizedExportError("HTTP 401; check its credentials")]
    running.queue(5)
    eventually(lambda: not running.readiness.ready)
    assert "check its credentials" in running.readiness.report()["exporters.sink"].reason
    eventually(lambda: running.waiting == 0)
    assert running.dead == 0
    assert running.metric("mlflow_exporter_exports_total", result="unauthorized") == 1


def test_a_payload_that_crashes_the_exporter_is_set_aside_and_the_worker_lives(running: Sink) -> None:
    running.platform.trouble = [ZeroDivisionError("bug") for _ in range(5)]
    running.queue(20)
    eventually(lambda: running.waiting == 0)
    assert running.dead == 10
    assert running.platform.steps == list(range(10, 20))
    assert running.metric("mlflow_exporter_exports_total", result="crashed") == 4


def test_an_exporter_with_nothing_to_deliver_is_asked_until_it_is_well(sink: Sink) -> None:
    sink.platform.ill = RetryableExportError("no route to host")
    workers = Workers([sink.worker])
    workers.start()
    eventually(lambda: sink.readiness.report()["exporters.sink"].reason == "no route to host")
    eventually(lambda: sink.platform.checks > 3)
    sink.platform.ill = None
    eventually(lambda: sink.readiness.ready)
    workers.stop(Deadline.after(5))


def test_stopping_delivers_what_waits_but_does_not_wait_for_a_sick_platform(sink: Sink) -> None:
    workers = Workers([sink.worker])
    workers.start()
    eventually(lambda: sink.readiness.ready)
    sink.platform.trouble = [RetryableExportError("down", retry_after=3600)]
    sink.queue(5)
    eventually(lambda: sink.platform.attempts == 1)
    started = time.monotonic()
    workers.stop(Deadline.after(30))
    assert time.monotonic() - started < 5
    assert sink.waiting == 0, "the last attempt of the drain found it well again"


def test_stopping_without_time_keeps_the_queue(sink: Sink) -> None:
    workers = Workers([sink.worker])
    workers.start()
    eventually(lambda: sink.readiness.ready)
    sink.platform.trouble = [RetryableExportError("down", retry_after=3600)]
    sink.queue(5)
    eventually(lambda: sink.platform.attempts == 1)
    workers.stop(Deadline.after(0))
    assert sink.waiting == 5


def test_one_exporters_outage_does_not_delay_another(sink: Sink) -> None:
    hung = threading.Event()

    class Hanging(Platform):
        def export(self, payload: Batch | Snapshot, *, deadline: Deadline) -> None:
            hung.wait(30)

    feed = SnapshotSource()
    other = Worker("other", Hanging(), feed, readiness=sink.readiness, metrics=sink.metrics)
    workers = Workers([other, sink.worker])
    workers.start()
    workers.publish(Snapshot({}))
    sink.queue(50)
    eventually(lambda: sink.waiting == 0)
    hung.set()
    workers.stop(Deadline.after(5))


def test_a_newer_snapshot_supersedes_one_that_waits(sink: Sink) -> None:
    feed, platform = SnapshotSource(), Platform(trouble=[RetryableExportError("down", retry_after=0)])
    latest = Worker("latest", platform, feed, readiness=sink.readiness, metrics=sink.metrics)
    old, new = Snapshot({"1": ()}), Snapshot({"2": ()})
    feed.put(old)
    assert latest.drain(Deadline.after(5), attempts=1).error == "down"
    feed.put(new)
    assert latest.drain(Deadline.after(5), attempts=1).error is None
    assert platform.got == [new]
    assert feed.head() is None


def test_series_that_are_refused_again_and_again_are_told_of_once(sink: Sink) -> None:
    feed, platform = SnapshotSource(), Platform()
    latest = Worker("latest", platform, feed, readiness=sink.readiness, metrics=sink.metrics)

    def told(reason: str | None) -> list[str]:
        platform.trouble = [PermanentExportError(reason, rejected=[])] if reason else []
        feed.put(Snapshot({"1": ()}))
        with structlog.testing.capture_logs() as lines:
            latest.drain(Deadline.after(5), attempts=1)
        return [str(line["reason"]) for line in lines if line["log_level"] == "error"]

    assert [told(reason) for reason in ("a", "a", "b", "b", None, "b")] == [["a"], [], ["b"], [], [], ["b"]]


def test_a_snapshot_that_arrives_during_an_export_is_not_lost() -> None:
    feed = SnapshotSource()
    feed.put(Snapshot({"1": ()}))
    sending = feed.head()
    assert sending is not None
    feed.put(Snapshot({"2": ()}))
    feed.acknowledge(sending)
    waiting = feed.head()
    assert waiting is not None
    assert waiting.payload == Snapshot({"2": ()})
