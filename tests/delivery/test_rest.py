"""A platform that asks to be left alone is, whoever comes next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PermanentExportError, RetryableExportError, StateFullError
from mlflow_monitoring_exporter.core.values import Batch, Family, RunContext, Sample, Series, Snapshot
from mlflow_monitoring_exporter.delivery import retry_after as rest
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource, SnapshotSource
from mlflow_monitoring_exporter.delivery.retry_after import LaterError, RetryAfter
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.delivery.workers import Workers
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.retry_times import RetryTimes
from mlflow_monitoring_exporter.telemetry.exporter_metrics import State
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run")


@dataclass
class Platform:
    trouble: list[Exception] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def start(self) -> None: ...

    def check(self) -> None:
        self.asked.append("check")

    def export(self, payload: Batch | Snapshot, *, deadline: Deadline) -> None:
        assert deadline.remaining() > 0
        self.asked.append("export")
        if self.trouble:
            raise self.trouble.pop(0)

    def close(self) -> None: ...


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/state.db")
    yield made
    made.close()


def worker(database: Database, platform: Platform, target: str = "http://sink", *, queue: bool = True) -> Worker:
    """What a process makes of the state when it starts, or reads its configuration again."""
    outbox = Outbox(database)
    feed = QueueSource(outbox, outbox.register(["sink"])["sink"]) if queue else SnapshotSource()
    readiness = Readiness()
    return Worker(
        "sink",
        platform,
        feed,
        readiness=readiness,
        metrics=SelfMetrics(readiness),
        retry_after=RetryAfter("sink", target, RetryTimes(database)),
    )


def enqueue(database: Database) -> None:
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, [Sample(CONTEXT, "loss", 1, 1, 0.5)], batch_size=10)


def busy(seconds: float) -> RetryableExportError:
    return RetryableExportError("HTTP 503", retry_after=seconds, status=503)


@pytest.mark.parametrize("queue", [True, False])
def test_whoever_comes_next_waits_for_what_is_left(database: Database, queue: bool) -> None:
    enqueue(database)
    platform = Platform([busy(600)])
    before = worker(database, platform, queue=queue)
    after = worker(database, platform, queue=queue)
    for each in (before, after):
        if isinstance(each.payloads, SnapshotSource):
            each.payloads.put(Snapshot({"1": ()}))
    assert before.drain(Deadline.after(30), attempts=1).error == "HTTP 503"
    started = time.monotonic()
    error = after.drain(Deadline.after(30), attempts=3).error or ""
    assert "asked to retry after" in error
    assert "HTTP 503" in error
    assert time.monotonic() - started < 20, "it does not wait in vain"
    assert platform.asked == ["export"]


def test_a_daemon_that_starts_neither_sends_nor_asks_and_says_why(database: Database) -> None:
    enqueue(database)
    platform = Platform([busy(600)])
    worker(database, platform).drain(Deadline.after(30), attempts=1)
    again = worker(database, platform)
    workers = Workers([again])
    workers.start()
    end = time.monotonic() + 30
    while again.state is not State.backing_off:
        assert time.monotonic() < end
        time.sleep(0.01)
    workers.stop(Deadline.after(20))
    assert platform.asked == ["export"], "not even when it stops"


def test_when_the_pause_is_over_everything_is_delivered(database: Database) -> None:
    enqueue(database)
    platform = Platform([busy(2.0)])
    worker(database, platform).drain(Deadline.after(30), attempts=1)
    asked = time.monotonic()
    drained = worker(database, platform).drain(Deadline.after(60), attempts=3)
    assert (drained.delivered, drained.error) == (1, None)
    assert time.monotonic() - asked >= 1.5
    assert RetryTimes(database).get("sink", "http://sink") is None


def test_another_platform_has_asked_for_nothing(database: Database) -> None:
    enqueue(database)
    platform = Platform([busy(600)])
    worker(database, platform).drain(Deadline.after(30), attempts=1)
    assert worker(database, platform, "http://elsewhere").drain(Deadline.after(30), attempts=1).error is None


def test_no_pause_is_longer_than_an_hour_whatever_is_asked_for(database: Database) -> None:
    resting = RetryAfter("sink", "http://sink", RetryTimes(database))
    resting.asked(86_400.0, "HTTP 503")
    kept = RetryTimes(database).get("sink", "http://sink")
    assert kept is not None
    assert 3590 < kept.seconds <= rest.LONGEST
    with pytest.raises(LaterError) as caught:
        resting.check()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after <= rest.LONGEST


@pytest.mark.parametrize("jump", [-14_400.0, 14_400.0])
def test_a_clock_that_is_set_makes_no_pause_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    RetryAfter("sink", "t", RetryTimes(database)).asked(100.0, "HTTP 503")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(jump * 1e9))
    kept = RetryTimes(database).get("sink", "t")
    assert kept is None or kept.seconds <= 100.0
    later = RetryAfter("sink", "t", RetryTimes(database))
    if jump < 0:
        with pytest.raises(LaterError):
            later.check()
        now = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: now() + 101.0)
    later.check()


def test_a_state_that_cannot_be_written_makes_no_difference_to_this_process(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StateFullError("the disk is full")

    made = RetryTimes(database)
    monkeypatch.setattr(made, "put", full)
    resting = RetryAfter("sink", "t", made)
    resting.asked(100.0, "HTTP 503")
    with pytest.raises(LaterError):
        resting.check()


def test_a_pause_of_its_own_making_costs_no_statistics(database: Database) -> None:
    enqueue(database)
    platform = Platform([busy(600)])
    made = worker(database, platform)
    for _ in range(5):
        made.drain(Deadline.after(30), attempts=1)
    assert made._metrics.exports.labels("sink", "retry")._value.get() == 1


def test_series_that_are_refused_are_counted_as_series_and_no_check_hides_them() -> None:
    platform = Platform([PermanentExportError("mlflow_loss collides", status=400, rejected=[0, 2])])
    readiness = Readiness()
    metrics = SelfMetrics(readiness)
    feed = SnapshotSource()
    made = Worker("gateway", platform, feed, readiness=readiness, metrics=metrics)
    feed.put(_three_series())
    drained = made.drain(Deadline.after(30), attempts=1)
    assert (drained.delivered, drained.set_aside, drained.error) == (1, 0, "mlflow_loss collides")

    def refused() -> float | None:
        return metrics.registry.get_sample_value("mlflow_exporter_series_refused", {"exporter": "gateway"})

    assert refused() == 2
    made._probe()
    assert not readiness.ready
    assert "mlflow_loss" in readiness.report()["exporters.gateway"].reason
    feed.put(_three_series())
    assert made.drain(Deadline.after(30), attempts=1).error is None
    assert refused() == 0
    assert readiness.ready


def _three_series() -> Snapshot:
    series = tuple(Series((str(number),), 0.5) for number in range(3))
    return Snapshot({"1": (Family("mlflow_loss", "help", "gauge", ("metric",), series),)})
