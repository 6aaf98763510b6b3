"""Leases of partitions: never two at a time, in order within a partition, and nothing is left over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.delivery import poison as trial
from mlflow_monitoring_exporter.delivery.payload_source import Item, PartitionSource
from mlflow_monitoring_exporter.delivery.retry_after import LaterError, RetryAfter
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.membership import ReplicaTable
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.partitions import Partitions
from mlflow_monitoring_exporter.state.payload import Refusal
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.retry_times import RetryTimes
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.scaled import scaled
from tests.parts.states import States
from tests.state.test_outbox import samples


def feed_of(name: str, database: Database, queue: QueueId, owned: Callable[[], bool] = lambda: True) -> PartitionSource:
    """What a new replica delivers."""
    replicas = ReplicaTable(database, lease=60.0)
    replicas.join(name)
    return PartitionSource(Outbox(database), queue, Partitions(database, replicas.me), owned)


class Deliveries(RuleBasedStateMachine):
    """Two replicas deliver what a third party queues; one may die at any time, and is replaced."""

    kept: ClassVar[States]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.kept.empty()
        self.outbox, self.letters = Outbox(self.database), DeadLetters(self.database)
        self.queue = self.outbox.register(["sink"])["sink"]
        self.waiting: dict[int, list[int]] = {}
        self.dead: list[tuple[int, int]] = []
        self.number = 0
        self.replicas: list[tuple[ReplicaTable, PartitionSource]] = []
        for name in ("one", "two"):
            self.join(name)

    def join(self, name: str) -> None:
        replicas = ReplicaTable(self.kept.again(), lease=60.0)
        replicas.join(name)
        partitions = Partitions(replicas._database, replicas.me)
        self.replicas.append(
            (replicas, PartitionSource(Outbox(replicas._database), self.queue, partitions, lambda: True))
        )

    @rule(partition=st.integers(1, 3), count=st.integers(1, 30))
    def enqueue(self, partition: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            with self.database.write() as tx:
                self.outbox.enqueue(tx, self.queue, samples(self.number)[-1:], batch_size=1, partition=partition)
            self.waiting.setdefault(partition, []).append(self.number - 1)

    @rule(who=st.integers(0, 1), count=st.integers(1, 25), refused=st.booleans())
    def deliver(self, who: int, count: int, refused: bool) -> None:
        feed = self.replicas[who][1]
        for _ in range(count):
            item = feed.head()
            other = self.replicas[1 - who][1]
            if item is None:
                waiting = {partition for partition, numbers in self.waiting.items() if numbers}
                assert waiting <= {other._partition}, "only what another one holds is left alone"
                return
            assert feed._partition != other._partition
            assert feed._partition is not None
            (number,) = (sample.step for sample in item.payload.samples)  # type: ignore[union-attr]
            assert number == self.waiting[feed._partition].pop(0), "in order"
            if refused:
                feed.set_aside(item, {Refusal("no", 400, 1): [0]})
                self.dead.append((feed._partition, number))
            else:
                feed.acknowledge(item)

    @rule()
    def replay(self) -> None:
        self.letters.replay([letter.number for letter in self.letters.all()])
        for partition, number in self.dead:
            self.waiting.setdefault(partition, []).append(number)
        self.dead.clear()

    @rule(who=st.integers(0, 1))
    def die(self, who: int) -> None:
        self.replicas.pop(who)[0].leave()
        self.join("another")

    @invariant()
    def figures_are_the_truth(self) -> None:
        ledger = self.outbox.ledger(self.queue)
        assert ledger.balanced
        assert ledger.queued == sum(map(len, self.waiting.values()))
        with self.database.read() as tx:
            rows = tx.execute(text("SELECT lane, waiting FROM lane")).all()
        assert {partition: count for partition, count in rows if count} == {
            partition: len(numbers) for partition, numbers in self.waiting.items() if numbers
        }


@pytest.mark.usefixtures("patient")
def test_partitions_are_delivered_by_one_at_a_time_and_in_order(shared: States) -> None:
    Deliveries.kept = shared
    run_state_machine_as_test(
        Deliveries, settings=settings(max_examples=scaled(4, 25), stateful_step_count=20, deadline=None)
    )


def test_a_long_partition_gives_others_their_turn(shared: States) -> None:
    database = shared.empty()
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(50), batch_size=1, partition=1)
        outbox.enqueue(tx, queue, samples(1), batch_size=1, partition=2)
    feed = feed_of("one", database, queue)
    order = []
    while (item := feed.head()) is not None:
        order.append(feed._partition)
        feed.acknowledge(item)
    assert order == [1] * 20 + [2] + [1] * 30


def test_nothing_is_sent_once_others_may_have_taken_over(shared: States) -> None:
    database = shared.empty()
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(2), batch_size=1, partition=1)
    owned = True
    feed = feed_of("one", database, queue, lambda: owned)
    assert feed.head() is not None
    owned = False
    assert feed.head() is None


def queue_in(database: Database, queue: QueueId, partitions: dict[int, int]) -> None:
    """So many batches in each partition."""
    for partition, count in partitions.items():
        for number in range(count):
            with database.write() as tx:
                Outbox.enqueue(tx, queue, samples(100 * partition + number + 1)[-1:], batch_size=1, partition=partition)


def partition_of(item: Item | None) -> int | None:
    return None if item is None else item.payload.samples[0].step // 100  # type: ignore[union-attr]


def test_what_is_stuck_in_one_partition_holds_up_neither_its_own_partition_nor_others(shared: States) -> None:
    database = shared.again()
    queue = Outbox(database).register(["sink"])["sink"]
    queue_in(database, queue, {1: 2, 2: 1, 3: 1})
    feed, other = feed_of("one", shared.again(), queue), feed_of("two", shared.again(), queue)
    stuck = feed.head()
    assert stuck is not None
    assert partition_of(stuck) == 1
    behind = feed.behind(stuck)
    assert behind is not None
    assert (partition_of(behind), behind.place.place > stuck.place.place) == (1, True)
    feed.acknowledge(behind)
    beside = feed.behind(stuck)
    assert beside is not None
    assert partition_of(beside) == 2
    another = feed.behind(beside)
    assert partition_of(another) == 3, "one that fails as well is not the only one that is tried"
    assert feed.head() == stuck, "it stays this replica's"
    taken = other.head()
    assert partition_of(taken) in (2, 3), "what was only borrowed is given back"


def test_one_poisonous_experiment_does_not_keep_a_replica_from_the_others(
    shared: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ATTEMPTS": 2, "PATIENCE": 0.0, "BETWEEN": 0.0}.items():
        monkeypatch.setattr(trial, name, value)
    database = shared.again()
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    queue_in(database, queue, {1: 1, 2: 3, 3: 3})
    readiness = Readiness()

    class Platform:
        got: ClassVar[list[int]] = []

        def check(self) -> None: ...

        def export(self, payload: Batch, *, deadline: Deadline) -> None:
            assert deadline.remaining() > 0
            steps = [sample.step for sample in payload.samples]
            if any(step < 200 for step in steps):
                raise RetryableExportError("HTTP 500", status=500)
            self.got.extend(steps)

    platform: Any = Platform()
    feed = feed_of("one", shared.again(), queue)
    made = Worker("sink", platform, feed, readiness=readiness, metrics=SelfMetrics(readiness))
    for _ in range(20):
        made.drain(Deadline.after(30), attempts=1)
    ledger = outbox.ledger(queue)
    assert (ledger.delivered, ledger.dead, ledger.queued, ledger.balanced) == (6, 1, 0, True)


def test_a_pause_that_one_replica_was_asked_for_is_kept_by_all(shared: States, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, other = (RetryAfter("sink", "http://sink", RetryTimes(shared.again())) for _ in range(2))
    other.check()
    asked.asked(600.0, "HTTP 503")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2.0)
    with pytest.raises(LaterError, match="HTTP 503"):
        other.check()
    monkeypatch.setattr(time, "monotonic", lambda: now + 605.0)
    other.check()
