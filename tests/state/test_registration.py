"""Names of exporters come and go in the life of a state; only so many are there at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from mlflow_monitoring_exporter import state
from mlflow_monitoring_exporter.core.errors import ConfigError, StateError
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.backlog import Backlog
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.ledger import ledgers
from mlflow_monitoring_exporter.state.membership import ReplicaTable
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.payload import Refusal
from mlflow_monitoring_exporter.state.queue_id import SLOTS, QueueId, QueueSet
from mlflow_monitoring_exporter.state.seen_points import mark_unseen
from tests.parts.states import States
from tests.state.test_mirror import State, selected
from tests.state.test_outbox import samples


class World:
    """One series that goes on, and whoever is configured to get it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.state = State(database)
        self.points: list[Point] = []

    def log(self) -> None:
        step = len(self.points)
        self.points.append(Point("loss", step, 10 + step, float(step)))
        self.state.record(selected(self.points[-1]))

    def poll(self, *names: str) -> dict[str, list[int]]:
        """One start with these exporters, and one poll: the steps that are queued for each."""
        ids = self.outbox.register(names)
        wanted = QueueSet.of(ids.values())
        backlog: Backlog = self.state.backlog
        backlog.expect(wanted)
        found: dict[str, list[int]] = {name: [] for name in names}
        for item in backlog.next(wanted):
            there = [p for p in self.points if item.from_step is None or p.step >= item.from_step]
            with self.database.write() as tx:
                (fresh,) = mark_unseen(tx, [(item.series_id, there, list(ids.values()))])
                backlog.complete(tx, [item], wanted, wanted)
            for name, queue in ids.items():
                found[name] += [point.step for point in fresh[queue]]
        return found


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def test_two_hundred_names_come_and_go_and_who_stays_gets_each_point_once(world: World) -> None:
    got: list[int] = []
    for number in range(200):
        world.log()
        found = world.poll("stays", f"guest {number}")
        got += found["stays"]
        assert found[f"guest {number}"] == list(range(number + 1)), "a new one gets all that there is"
        if number > 2:
            again = world.poll("stays", f"guest {number}", f"guest {number - 1}")
            assert again == {"stays": [], f"guest {number}": [], f"guest {number - 1}": [number]}
    assert got == list(range(200)), "nothing twice, nothing lost"


def test_a_name_that_lost_its_slot_begins_as_a_new_one(world: World) -> None:
    world.log()
    assert world.poll("first")["first"] == [0]
    for number in range(SLOTS - 1):
        world.poll(f"guest {number}")
    world.log()
    assert world.poll("first")["first"] == [1], "its slot is its own as long as nobody needs it"
    with capture_logs() as logged:
        world.poll("one more")
    assert [entry["exporter"] for entry in logged] == ["guest 0"], "the one that was away longest"
    for number in range(1, SLOTS):
        world.poll(f"another {number}")
    with capture_logs() as logged:
        ids = world.outbox.register(["first"], since_ms=7)
    assert len(logged) == 1
    assert FirstLoads(world.database).since() == {ids["first"]: 7}
    assert world.poll("first")["first"] == [0, 1]


def test_dead_letters_and_the_account_outlive_the_slot(world: World) -> None:
    outbox, letters = world.outbox, DeadLetters(world.database)
    world.log()
    queue = outbox.register(["refused"])["refused"]
    with world.database.write() as tx:
        outbox.enqueue(tx, queue, samples(3), batch_size=3)
    head = outbox.head(queue)
    assert head is not None
    outbox.set_aside(head, {Refusal("no", 400, 1): [0, 1, 2]})
    for number in range(SLOTS):
        world.poll(f"guest {number}")
    assert [(letter.exporter, letter.samples) for letter in letters.all()] == [("refused", 3)]
    assert letters.replay([letter.number for letter in letters.all()]) == 3
    assert all(ledger.balanced for ledger in ledgers(world.database))
    again = outbox.register(["refused"])["refused"]
    assert (waiting := outbox.head(again)) is not None
    assert waiting.batch.batch_id == head.batch.batch_id


def test_one_with_a_backlog_is_the_last_that_loses_its_slot_and_keeps_the_backlog(world: World) -> None:
    outbox = world.outbox
    queue = outbox.register(["behind"])["behind"]
    with world.database.write() as tx:
        outbox.enqueue(tx, queue, samples(2), batch_size=2)
    names = [f"guest {number}" for number in range(SLOTS - 1)]
    outbox.register(names)
    with capture_logs() as logged:
        outbox.register(["one more"])
        outbox.register([*names[1:], "one more"])
        outbox.register([*names[1:], "one more", "and one more"])
    assert [(entry["exporter"], entry["queued"]) for entry in logged] == [("guest 0", 0), ("behind", 2)]
    assert outbox.ledger(queue).queued == 2
    assert outbox.head(queue) is not None


def test_more_than_there_is_room_for_at_a_time_are_refused_and_nothing_is_changed(world: World) -> None:
    names = [f"exporter {number}" for number in range(SLOTS + 1)]
    with pytest.raises(ConfigError, match=f"exporters: {SLOTS + 1} exporters .* room for {SLOTS} at a time"):
        world.outbox.register(names)
    assert ledgers(world.database) == []
    assert len(world.outbox.register(names[:-1])) == SLOTS
    world.log()
    assert all(steps == [0] for steps in world.poll(*names[:-1]).values())


def joined(kept: States, name: str) -> tuple[ReplicaTable, Database]:
    database = kept.again()
    replicas = ReplicaTable(database, lease=60.0)
    replicas.join(name)
    return replicas, database


def test_what_another_replica_has_configured_keeps_its_slot(shared: States) -> None:
    one, database = joined(shared, "one")
    names = [f"exporter {number}" for number in range(SLOTS)]
    Outbox(database).register(names)
    _, other = joined(shared, "two")
    with pytest.raises(ConfigError, match=f"{SLOTS + 1} exporters that receive every sample share this state"):
        Outbox(other).register([names[0], "one more"])
    one.leave()
    assert Outbox(other).register([names[0], "one more"])["one more"].number == SLOTS


def test_no_slot_moves_while_a_replica_of_an_earlier_release_is_at_work(shared: States) -> None:
    database = shared.again()
    Outbox(database).register([f"exporter {number}" for number in range(SLOTS)])
    with database.write() as tx:
        tx.execute(text("INSERT INTO replica (name, session) VALUES ('an old one', '')"))
    with pytest.raises(StateError, match="replicas of an earlier release are at work, which may use any: an old one"):
        Outbox(database).register(["one more"])
    with database.write() as tx:
        tx.execute(text("DELETE FROM replica"))
    assert "one more" in Outbox(database).register(["one more"])


def test_a_set_of_queues_is_a_set() -> None:
    one, two, three = (QueueId(number, slot) for number, slot in ((100, 0), (1, 62), (2, 5)))
    both = QueueSet.of([one, two, two])
    assert (one in both, three in both, len(both), bool(both), bool(QueueSet())) == (True, False, 2, True, False)
    assert both - QueueSet.of([one]) == QueueSet.of([two])
    assert both & QueueSet.of([two, three]) == QueueSet.of([two])
    assert QueueSet.of([one]) | QueueSet.of([two]) == both == QueueSet(int(both))
    assert len({both, QueueSet.of([two, one])}) == 1
    assert sorted([one, two, three]) == [two, three, one]
    with pytest.raises(ValueError, match="queue 4 has no slot"):
        QueueSet.of([QueueId(4)])


def test_bits_stay_in_state() -> None:
    package = Path(state.__file__).parents[1]
    others = [path for path in package.rglob("*.py") if package / "state" not in path.parents]
    assert [path for path in others if re.search(r"\.(mask|slot)\b|1 << (bit|slot)", path.read_text())] == []
    assert len(others) > 100
