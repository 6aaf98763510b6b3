"""A queue of bytes, whatever they mean: order, durability and the account, in both databases."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.ledger import ledgers
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.payload import Payload, Refusal, batch_id
from mlflow_monitoring_exporter.state.payload_queue import PayloadQueue
from mlflow_monitoring_exporter.state.queue_id import QueueId
from tests.parts.scaled import scaled
from tests.parts.states import States

NAMES = ("spool", "findings")
PARTITIONS = (1, 2)


@dataclass(frozen=True)
class Waiting:
    """What the model knows of a payload."""

    partition: int
    payload: Payload


class Model:
    """What became of everything that was put in one queue."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.dead: dict[int, Waiting] = {}
        self.counts: Counter[str] = Counter()

    def head(self, partition: int | None) -> Payload | None:
        return next((w.payload for w in self.waiting if partition in (None, w.partition)), None)


def interrupt(whether: bool) -> None:
    if whether:
        raise InterruptedError


class Machine(RuleBasedStateMachine):
    """Two queues of two partitions, through every step and restart: nothing is lost, mixed up or counted wrong."""

    kept: ClassVar[States]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.kept.empty()
        self.models = {name: Model() for name in NAMES}
        self.count = 0
        self.open()

    def open(self) -> None:
        self.queues, self.letters = PayloadQueue(self.database), DeadLetters(self.database)
        self.ids = {name: self.queues.open(name) for name in NAMES}

    def payload(self, size: int, items: int) -> Payload:
        self.count += 1
        return Payload.frozen(self.count.to_bytes(size, "big"), items=items, created_ms=self.count)

    @rule(
        name=st.sampled_from(NAMES),
        partition=st.sampled_from(PARTITIONS),
        shapes=st.lists(st.tuples(st.integers(2, 300), st.integers(0, 5)), max_size=4),
        kept=st.booleans(),
    )
    def put(self, name: str, partition: int, shapes: list[tuple[int, int]], kept: bool) -> None:
        """As part of a transaction, which may come to nothing."""
        payloads = [self.payload(*shape) for shape in shapes]
        with suppress(InterruptedError), self.database.write() as tx:
            self.queues.put(tx, self.ids[name], payloads, partition=partition)
            interrupt(not kept)
        if not kept:
            return
        self.models[name].waiting += [Waiting(partition, payload) for payload in payloads]
        self.models[name].counts["enqueued"] += sum(payload.items for payload in payloads)

    @precondition(lambda self: any(model.waiting for model in self.models.values()))
    @rule(data=st.data(), partition=st.sampled_from((None, *PARTITIONS)), dead=st.booleans())
    def take(self, data: st.DataObject, partition: int | None, dead: bool) -> None:
        """The head is acknowledged, or a part of it is refused."""
        name = data.draw(st.sampled_from(sorted(n for n, model in self.models.items() if model.waiting)))
        model = self.models[name]
        head = self.queues.head(self.ids[name], partition)
        expected = model.head(partition)
        assert (head and head.payload) == expected
        if head is None:
            return
        behind = self.queues.head(self.ids[name], partition, after=head.place)
        waiting = [w for w in model.waiting if partition in (None, w.partition)]
        assert (behind and behind.payload) == (waiting[1].payload if waiting[1:] else None)
        model.waiting.remove(waiting[0])
        lost = data.draw(st.integers(0, head.payload.items)) if dead else 0
        part = Payload(batch_id(b"part", head.place), head.payload.created_ms, lost, b"part")
        for _ in range(2):  # twice is once
            if dead:
                self.queues.set_aside(head.place, [(Refusal("no", 400, 1), part)])
            else:
                self.queues.acknowledge(head.place)
        if dead:
            model.dead[max(letter.number for letter in self.letters.all())] = Waiting(waiting[0].partition, part)
        model.counts["delivered"] += head.payload.items - lost
        model.counts["dead_lettered"] += lost

    @precondition(lambda self: any(model.dead for model in self.models.values()))
    @rule(data=st.data(), again=st.booleans())
    def decide(self, data: st.DataObject, again: bool) -> None:
        """A dead letter is replayed, or purged."""
        name = data.draw(st.sampled_from(sorted(n for n, model in self.models.items() if model.dead)))
        number = data.draw(st.sampled_from(sorted(self.models[name].dead)))
        one = self.models[name].dead.pop(number)
        assert self.letters.payload(number) == one.payload
        assert (self.letters.replay if again else self.letters.purge)([number, number]) == one.payload.items
        if again:
            self.models[name].waiting.append(one)
        else:
            self.models[name].counts["purged"] += one.payload.items

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 400))
    def drop(self, name: str, size: int) -> None:
        model = self.models[name]
        dropped = freed = 0
        while freed < size and model.waiting:
            gone = model.waiting.pop(0).payload
            dropped, freed = dropped + gone.items, freed + len(gone.content)
        with self.database.write() as tx:
            assert self.queues.drop_oldest(tx, self.ids[name], size) == dropped
        model.counts["overflowed"] += dropped

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = self.kept.again()
        known = self.ids
        self.open()
        assert self.ids == known

    @invariant()
    def the_account_is_the_truth(self) -> None:
        for name, model in self.models.items():
            ledger = self.queues.ledger(self.ids[name])
            payloads = [w.payload for w in model.waiting]
            assert ledger.balanced
            assert ledger.queued == sum(p.items for p in payloads)
            assert (ledger.queued_batches, ledger.queued_bytes) == (
                len(payloads),
                sum(len(p.content) for p in payloads),
            )
            assert ledger.oldest_ms == (payloads[0].created_ms if payloads else None)
            assert ledger.dead == sum(w.payload.items for w in model.dead.values())
            for count in ("enqueued", "delivered", "dead_lettered", "purged", "overflowed"):
                assert getattr(ledger, count) == model.counts[count], count
            with self.database.read() as tx:
                assert self.queues.waiting_bytes(tx, self.ids[name]) == ledger.queued_bytes


def test_order_and_account_whatever_is_done(kept: States) -> None:
    often = settings(
        max_examples=scaled(6, 40) if kept.shared else scaled(15, 100), stateful_step_count=25, deadline=None
    )
    Machine.kept = kept
    run_state_machine_as_test(Machine, settings=often)


def test_queues_of_other_payloads_take_no_slot_and_no_name_of_an_exporter(database: Database) -> None:
    queues, outbox = PayloadQueue(database), Outbox(database)
    spool = queues.open("spool")
    sink = outbox.register(["sink"])["sink"]
    assert (spool.slot, sink.slot) == (None, sink.number)
    assert queues.open("spool") == spool
    with pytest.raises(StateError, match="sink is an exporter of the state"):
        queues.open("sink")
    assert [ledger.name for ledger in ledgers(database)] == ["spool", "sink"]
    assert QueueId(sink.number) == sink, "a queue is its number"
