"""Two that collect the same series at the same time, and a mirror that moves on meanwhile."""

from __future__ import annotations

import threading

import pytest

from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.seen_points import mark_unseen
from tests.parts.states import States
from tests.state.test_mirror import BOTH, FIRST, A, State, selected


def points(count: int) -> list[Point]:
    return [Point("loss", step, 10 * step, float(step)) for step in range(count)]


def test_two_that_queue_the_same_points_at_the_same_time_queue_each_once(shared: States) -> None:
    state = State(shared.again())
    state.load(selected(points(2000)[-1]))
    found: list[list[Point]] = []
    together = threading.Barrier(2)

    def collect(database: Database) -> None:
        backlog = Backlog(database, Mirror(database, "server"))
        (item,) = backlog.next(FIRST)
        together.wait()
        for start in range(0, 2000, 100):
            part = points(2000)[start : start + 100]
            with database.write() as tx:
                backlog.hold(tx, [item.series_id])
                ((_, fresh),) = mark_unseen(tx, [(item.series_id, part, [QueueId(0, 0)])])[0].items()
                found.append(fresh)

    threads = [threading.Thread(target=collect, args=(shared.again(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(point for part in found for point in part) == points(2000)


@pytest.mark.parametrize("change", ["moved", "touched", "reset", "rechecked", "another selection"])
def test_a_series_that_became_unread_while_it_was_read_is_not_complete(kept: States, change: str) -> None:
    database = kept.empty()
    state = State(database)
    outbox = Outbox(database)
    outbox.register(["sink"], selections={"sink": ""})
    state.load(selected(points(3)[-1]))
    (item,) = state.backlog.next(FIRST)
    if change == "moved":
        state.record(selected(points(4)[-1]))
    elif change == "touched":
        state.touch("loss", 1)
    elif change == "another selection":
        outbox.register(["sink"], selections={"sink": "other"})
    else:
        with database.write() as tx:
            state.backlog.reset(tx) if change == "reset" else state.backlog.recheck(tx, runs=1, points=100)
    complete(state, item)
    assert state.backlog.next(FIRST), "what is new is still to be read"
    (again,) = state.backlog.next(FIRST)
    complete(state, again)
    assert state.backlog.next(FIRST) == []


def complete(state: State, item: UnqueuedSeries) -> None:
    with state.database.write() as tx:
        state.backlog.complete(tx, [item], FIRST, FIRST)


def test_experiments_that_are_behind_are_named_until_they_are_collected(kept: States) -> None:
    state = State(kept.empty())
    assert state.backlog.experiments(FIRST) == []
    state.load(selected(points(3)[-1]))
    (experiment,) = state.backlog.experiments(FIRST)
    (item,) = state.backlog.next(FIRST, experiment=experiment)
    assert item.context.run_id == A
    assert state.backlog.next(FIRST, experiment=experiment + 1) == []
    assert (state.backlog.count(experiment), state.backlog.count(experiment + 1)) == (1, 0)
    complete(state, item)
    assert state.backlog.experiments(FIRST) == []
    state.backlog.expect(BOTH)
    assert state.backlog.experiments(BOTH) == [experiment], "another exporter has nothing of it"


def test_a_first_load_is_over_when_it_is_over_for_every_server(kept: States) -> None:
    database = kept.empty()
    first_loads, servers = FirstLoads(database), ["a", "b"]
    for server in servers:
        Mirror(database, server)
    one, two = Outbox(database).register(["one", "two"], since_ms=5).values()
    first_loads.end([one, two], server="a", servers=servers)
    assert first_loads.since() == {one: 5, two: 5}
    first_loads.end([two], server="b", servers=servers)
    assert first_loads.since() == {one: 5}
    first_loads.end([one], server="b", servers=servers)
    assert first_loads.since() == {}
