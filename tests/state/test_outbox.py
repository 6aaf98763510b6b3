from __future__ import annotations

import math
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.state.batch_codec import decode, encode
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.outbox import Outbox, QueuedBatch
from mlflow_monitoring_exporter.state.payload import Refusal
from tests.parts.dead_samples import dead_samples
from tests.parts.scaled import scaled
from tests.parts.states import States

CONTEXT = RunContext("http://mlflow", "1", 'quoted "name"\n🚀', "a" * 32, "run", {"owner": "me"})


def samples(count: int) -> list[Sample]:
    return [Sample(CONTEXT, "loss", step, step, float(step)) for step in range(count)]


contexts = st.builds(
    RunContext,
    *(st.text(st.characters(codec="utf-8")) for _ in range(5)),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=3),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.none() | st.text(st.characters(codec="utf-8")),
)
any_samples = st.builds(
    Sample,
    contexts,
    st.text(st.characters(codec="utf-8")),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**53),
    st.floats(),
)


@given(st.lists(any_samples, max_size=20))
def test_what_the_outbox_stores_is_what_comes_back(batch: list[Sample]) -> None:
    back = decode(encode(batch))
    assert len(back) == len(batch)
    for left, right in zip(back, batch, strict=True):
        assert left.run == right.run
        assert (left.key, left.step, left.timestamp_ms) == (right.key, right.step, right.timestamp_ms)
        assert left.value == right.value or (math.isnan(left.value) and math.isnan(right.value))
    assert encode(back) == encode(batch)


def test_batches_leave_in_order_and_only_after_acknowledgement(database: Database) -> None:
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(1201), batch_size=500)
    steps: list[int] = []
    while (queued := outbox.head(queue)) is not None:
        again = outbox.head(queue)
        assert again is not None
        assert again.batch.batch_id == queued.batch.batch_id
        steps += [sample.step for sample in queued.batch.samples]
        outbox.acknowledge(queued)
    assert steps == list(range(1201))
    assert outbox.ledger(queue).queued == 0


def test_a_name_keeps_its_bit_and_exporters_do_not_see_each_others_batches(database: Database) -> None:
    outbox = Outbox(database)
    first = outbox.register(["a"])["a"]
    queues = outbox.register(["b", "a"])
    assert queues["a"] == first
    with database.write() as tx:
        outbox.enqueue(tx, queues["b"], samples(1), batch_size=500)
    assert outbox.head(queues["a"]) is None
    assert outbox.head(queues["b"]) is not None


def test_only_the_rejected_samples_become_dead_letters(database: Database) -> None:
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(10), batch_size=10)
    queued = outbox.head(queue)
    assert queued is not None
    outbox.set_aside(queued, {Refusal("too hot", 422, 5): [3], Refusal("too cold", None, 6): [7, 8]})
    hot, cold = DeadLetters(database).all()
    assert (hot.samples, hot.status, hot.reason, hot.first_ms) == (1, 422, "too hot", 5)
    assert (cold.samples, cold.status, cold.reason, cold.first_ms) == (2, None, "too cold", 6)
    assert [sample.step for sample in dead_samples(DeadLetters(database), cold.number)] == [7, 8]
    ledger = outbox.ledger(queue)
    assert (ledger.queued, ledger.dead, ledger.delivered, ledger.dead_lettered) == (0, 3, 7, 3)
    assert ledger.balanced


def test_a_dead_letter_that_is_replayed_keeps_its_identity(database: Database) -> None:
    outbox, letters = Outbox(database), DeadLetters(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(4), batch_size=2)
    first = outbox.head(queue)
    assert first is not None
    outbox.set_aside(first, {Refusal("no", 400, 1): [0, 1]})
    (letter,) = letters.all()
    assert letters.replay([letter.number, 99]) == 2
    outbox.acknowledge(must(outbox.head(queue)))
    again = must(outbox.head(queue))
    assert again.batch.batch_id == first.batch.batch_id
    assert outbox.ledger(queue).balanced
    assert letters.all() == []


def must(queued: QueuedBatch | None) -> QueuedBatch:
    assert queued is not None
    return queued


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done in whatever order: order is kept, and the ledger is the truth."""

    kept: ClassVar[States]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.kept.empty()
        self.outbox, self.letters = Outbox(self.database), DeadLetters(self.database)
        self.queue = self.outbox.register(["sink"])["sink"]
        self.step = 0
        self.waiting: list[list[int]] = []
        self.dead: dict[int, list[int]] = {}
        self.delivered = self.purged = self.overflowed = 0

    @rule(count=st.integers(1, 7), batch_size=st.integers(1, 3))
    def enqueue(self, count: int, batch_size: int) -> None:
        steps = list(range(self.step, self.step + count))
        self.step += count
        with self.database.write() as tx:
            fresh = [Sample(CONTEXT, "loss", step, step, 0.5) for step in steps]
            self.outbox.enqueue(tx, self.queue, fresh, batch_size=batch_size)
        self.waiting += [steps[at : at + batch_size] for at in range(0, count, batch_size)]

    @precondition(lambda self: self.waiting)
    @rule()
    def acknowledge(self) -> None:
        head = must(self.outbox.head(self.queue))
        self.outbox.acknowledge(head)
        self.outbox.acknowledge(head)  # twice is once
        self.delivered += len(self.waiting.pop(0))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def set_aside(self, data: st.DataObject) -> None:
        head = must(self.outbox.head(self.queue))
        steps = self.waiting.pop(0)
        bad = sorted(data.draw(st.sets(st.sampled_from(range(len(steps))), min_size=1)))
        self.outbox.set_aside(head, {Refusal("no", 400, 1): bad})
        self.delivered += len(steps) - len(bad)
        self.dead[max(letter.number for letter in self.letters.all())] = [steps[at] for at in bad]

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.dead)))
        self.waiting.append(self.dead.pop(number))
        self.letters.replay([number])

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.dead)))
        self.purged += len(self.dead.pop(number))
        self.letters.purge([number])

    @precondition(lambda self: self.waiting)
    @rule()
    def overflow(self) -> None:
        with self.database.write() as tx:
            dropped = self.outbox.drop_oldest(tx, self.queue, 1)
        assert dropped == len(self.waiting.pop(0))
        self.overflowed += dropped

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = self.kept.again()
        self.outbox, self.letters = Outbox(self.database), DeadLetters(self.database)

    @invariant()
    def the_head_is_the_oldest(self) -> None:
        head = self.outbox.head(self.queue)
        assert (head and [sample.step for sample in head.batch.samples]) == (self.waiting[0] if self.waiting else None)

    @invariant()
    def the_ledger_is_the_truth(self) -> None:
        ledger = self.outbox.ledger(self.queue)
        assert ledger.balanced
        assert (ledger.enqueued, ledger.delivered) == (self.step, self.delivered)
        assert (ledger.purged, ledger.overflowed) == (self.purged, self.overflowed)
        assert (ledger.queued, ledger.queued_batches) == (sum(map(len, self.waiting)), len(self.waiting))
        assert ledger.dead == sum(map(len, self.dead.values()))
        assert (ledger.queued_bytes == 0) == (not self.waiting)


def test_order_and_ledger_whatever_is_done(kept: States) -> None:
    often = settings(
        max_examples=scaled(6, 30) if kept.shared else scaled(12, 100), stateful_step_count=25, deadline=None
    )
    QueueMachine.kept = kept
    run_state_machine_as_test(QueueMachine, settings=often)


def test_a_failed_transaction_queues_nothing(database: Database) -> None:
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]

    def fail() -> None:
        with database.write() as tx:
            outbox.enqueue(tx, queue, samples(3), batch_size=500)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert outbox.head(queue) is None
