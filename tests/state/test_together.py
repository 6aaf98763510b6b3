"""Two that collect the same series at the same time, and a mirror that moves on meanwhile."""

from __future__ import annotations

import threading

import pytest

from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.outbox import Outbox
from tests.parts.states import States
from tests.state.test_mirror import A, State, selected


def points(count: int) -> list[Point]:
    return [Point("loss", step, 10 * step, float(step)) for step in range(count)]


def test_two_that_queue_the_same_points_at_the_same_time_queue_each_once(shared: States) -> None:
    state = State(shared.again())
    state.load(selected(points(2000)[-1]))
    found: list[list[Point]] = []
    together = threading.Barrier(2)

    def collect(database: Database) -> None:
        backlog = Backlog(database, Mirror(database, "server"))
        (item,) = backlog.next(0b1)
        together.wait()
        for start in range(0, 2000, 100):
            part = points(2000)[start : start + 100]
            with database.write() as tx:
                backlog.hold(tx, [item.series_id])
                ((_, fresh),) = backlog.unseen(tx, [(item.series_id, part, [0])])[0].items()
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
    (item,) = state.backlog.next(0b1)
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
    assert state.backlog.next(0b1), "what is new is still to be read"
    (again,) = state.backlog.next(0b1)
    complete(state, again)
    assert state.backlog.next(0b1) == []


def complete(state: State, item: UnqueuedSeries) -> None:
    with state.database.write() as tx:
        state.backlog.complete(tx, [item], 0b1, 0b1)


def test_experiments_that_are_behind_are_named_until_they_are_collected(kept: States) -> None:
    state = State(kept.empty())
    assert state.backlog.experiments(0b1) == []
    state.load(selected(points(3)[-1]))
    (experiment,) = state.backlog.experiments(0b1)
    (item,) = state.backlog.next(0b1, experiment=experiment)
    assert item.context.run_id == A
    assert state.backlog.next(0b1, experiment=experiment + 1) == []
    assert (state.backlog.count(experiment), state.backlog.count(experiment + 1)) == (1, 0)
    complete(state, item)
    assert state.backlog.experiments(0b1) == []
    state.backlog.expect(0b11)
    assert state.backlog.experiments(0b11) == [experiment], "another exporter has nothing of it"


def test_a_first_load_is_over_when_it_is_over_for_every_server(kept: States) -> None:
    outbox = Outbox(kept.empty())
    bits = outbox.register(["one", "two"], since_ms=5)
    servers = ["a", "b"]
    outbox.loaded([bits["one"], bits["two"]], server="a", servers=servers)
    assert outbox.first_loads() == {bits["one"]: 5, bits["two"]: 5}
    outbox.loaded([bits["two"]], server="b", servers=servers)
    assert outbox.first_loads() == {bits["one"]: 5}
    outbox.loaded([bits["one"]], server="b", servers=servers)
    assert outbox.first_loads() == {}
