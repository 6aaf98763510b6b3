"""What was read of MLflow, and what of it is still to be queued."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mlflow_monitoring_exporter.core.values import Point, Run, RunContext, RunGauges, RunStatus
from mlflow_monitoring_exporter.state import read_progress
from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.latest_values import LatestValues
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet
from mlflow_monitoring_exporter.state.read_progress import KnownExperiment, ReadProgress
from mlflow_monitoring_exporter.state.run_changes import Selected
from mlflow_monitoring_exporter.state.seen_points import mark_unseen
from tests.parts.scaled import scaled
from tests.parts.states import States

A, B = "a" * 32, "b" * 32
#: A time that can be believed, in ms.
LATELY = 1_600_000_000_000
#: The queues of one exporter, and of two.
FIRST, BOTH = QueueSet.of([QueueId(0, 0)]), QueueSet.of([QueueId(0, 0), QueueId(1, 1)])


def selected(*points: Point, run_id: str = A, parent: str | None = None, status: str = "RUNNING") -> Selected:
    tags = {"mlflow.parentRunId": parent} if parent else {}
    run = Run(run_id, "1", "run", RunStatus(status), 1, None, tags, points)
    return Selected(run, {"owner": "me"}, "tagged", "champion", points)


class State:
    """The mirror of one server, and everything that belongs to it."""

    def __init__(self, database: Database, identity: str = "server") -> None:
        self.database = database
        self.mirror = Mirror(database, identity)
        self.latest = LatestValues(database, self.mirror.server)
        self.backlog = Backlog(database, self.mirror)
        self.progress = ReadProgress(database, self.mirror.server)
        with database.write() as tx:
            old = self.progress.checkpoint()
            known = read_progress.Experiments({"1": KnownExperiment("experiment", watched=True)})
            self.progress.advance(tx, old, read_progress.Checkpoint(1, "mark", "selection", known))

    def load(self, *page: Selected, key: str = "all", reread: bool = False, cut_short: bool = False) -> int:
        """A load that finds ``page``; the number of runs that are gone by it."""
        with self.database.write() as tx:
            load, is_new = self.progress.load(tx, key, since_ms=1, mark="")
            if is_new and reread:
                self.backlog.reset(tx)
            self.mirror.record(tx, page, load.number, count=True)
            self.progress.load_reached(tx, "here")
        if cut_short:
            return 0
        with self.database.write() as tx:
            gone = self.mirror.settle(tx, ["1"], load.number)
            self.progress.load_ended(tx)
            return len(gone)

    def record(self, *page: Selected) -> int:
        with self.database.write() as tx:
            return len(self.mirror.record(tx, page, self.progress.round(tx), count=False))

    def runs(self) -> list[RunGauges]:
        return list(self.latest.of(["1"]))

    def touch(self, key: str, step: int) -> None:
        with self.database.write() as tx:
            self.backlog.touch(tx, [(A, key, step)])

    def queue(self, points: list[Point], *slots: int, wanted: QueueSet = FIRST) -> dict[int, list[Point]]:
        """Queue what is pending for these out of these points of every series; what was new."""
        queues = [QueueId(slot, slot) for slot in slots]
        active = QueueSet.of(queues)
        fresh: dict[int, list[Point]] = {slot: [] for slot in slots}
        for item in self.backlog.next(active):
            there = [p for p in points if item.from_step is None or p.step >= item.from_step]
            with self.database.write() as tx:
                (new,) = mark_unseen(tx, [(item.series_id, there, queues)])
                self.backlog.complete(tx, [item], active, wanted)
            for queue in queues:
                fresh[queue.number] += new[queue]
        return fresh


@pytest.fixture
def state(database: Database) -> State:
    return State(database)


def test_a_series_is_pending_until_its_history_is_queued_and_again_from_where_it_moved(state: State) -> None:
    first, second = Point("loss", 1, 10, 1.0), Point("loss", 2, 20, math.nan)
    state.load(selected(first))
    (item,) = state.backlog.next(FIRST)
    assert (item.latest, item.from_step) == (first, None)
    assert item.context == RunContext("server", "1", "experiment", A, "run", {"owner": "me"}, None, A)
    assert state.record(selected(first)) == 0
    assert state.backlog.next(FIRST), "not queued yet, so still pending"
    assert state.queue([first], 0) == {0: [first]}
    assert state.record(selected(first)) == 0
    assert state.backlog.next(FIRST) == []
    assert state.record(selected(second)) == 1
    assert [item.from_step for item in state.backlog.next(FIRST)] == [1], "its tail is enough"
    assert state.queue([first, second], 0) == {0: [second]}, "each point is queued once"
    assert state.record(selected(second)) == 0, "NaN equals itself here"


def test_a_series_that_moves_again_before_it_is_read_is_read_from_where_it_first_stood(state: State) -> None:
    points = [Point("loss", step, 10, 1.0) for step in range(1, 5)]
    state.load(selected(points[0]))
    state.queue(points, 0)
    for point in points[1:]:
        state.record(selected(point))
    assert [item.from_step for item in state.backlog.next(FIRST)] == [1]


def test_an_exporter_that_lags_behind_sets_where_reading_begins(state: State) -> None:
    points = [Point("loss", step, 10, 1.0) for step in range(1, 5)]
    state.backlog.expect(BOTH)
    state.load(selected(points[0]))
    state.queue(points[:1], 0, 1, wanted=BOTH)
    state.record(selected(points[1]))
    state.queue(points[:2], 0, wanted=BOTH)
    state.record(selected(points[2]))
    assert [item.from_step for item in state.backlog.next(BOTH)] == [1]
    assert state.queue(points[:3], 0, 1, wanted=BOTH) == {0: points[2:3], 1: points[1:3]}
    state.record(selected(points[3]))
    assert [item.from_step for item in state.backlog.next(BOTH)] == [3]


def test_a_new_exporter_gets_the_whole_history_and_an_old_one_nothing_twice(state: State) -> None:
    first, second = Point("loss", 1, 10, 1.0), Point("loss", 2, 20, 2.0)
    state.load(selected(first))
    state.queue([first], 0)
    state.backlog.expect(BOTH)
    assert [item.from_step for item in state.backlog.next(BOTH)] == [None]
    state.record(selected(second))
    assert state.queue([first, second], 0, 1, wanted=BOTH) == {0: [second], 1: [first, second]}
    state.backlog.expect(FIRST)
    assert state.backlog.count() == 0


def test_a_series_that_goes_back_is_read_as_a_whole(state: State) -> None:
    state.load(selected(Point("loss", 9, 10, 1.0)))
    state.queue([Point("loss", 9, 10, 1.0)], 0)
    state.record(selected(Point("loss", 3, 10, 1.0)))
    assert [item.from_step for item in state.backlog.next(FIRST)] == [None]


def test_what_a_feed_names_is_read_from_there(state: State) -> None:
    late, latest = Point("loss", 1, 10, 1.0), Point("loss", 2, 20, 2.0)
    state.load(selected(latest))
    state.queue([latest], 0)
    state.touch("loss", 1)
    state.touch("never seen", 1)
    assert state.queue([late, latest], 0) == {0: [late]}


def test_a_load_that_reads_again_finds_points_that_were_logged_late(state: State) -> None:
    late, latest = Point("loss", 1, 10, 1.0), Point("loss", 2, 20, 2.0)
    state.load(selected(latest))
    state.queue([latest], 0)
    state.load(selected(latest), reread=True)
    assert state.queue([late, latest], 0) == {0: [late]}


def test_pending_series_come_in_pages(state: State) -> None:
    state.load(selected(*(Point(f"key{n}", 0, 0, 0.0) for n in range(5))))
    found: list[UnqueuedSeries] = []
    while page := state.backlog.next(FIRST, after=found[-1].series_id if found else 0, limit=2):
        assert len(page) <= 2
        found += page
    assert sorted(item.latest.key for item in found) == [f"key{n}" for n in range(5)]
    assert state.backlog.count() == 5


def test_a_run_that_a_whole_load_did_not_meet_is_gone_with_its_series(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    state.load(selected(point), selected(point, run_id=B))
    assert sorted(run.run_id for run in state.runs()) == [A, B]
    assert state.load(selected(point)) == 1
    assert [(r.run_id, r.model_stage, dict(r.values)) for r in state.runs()] == [(A, "champion", {"loss": 1.0})]
    assert state.mirror.counts() == (1, 1)
    assert state.load(selected(point)) == 0, "it is gone once"


def test_a_run_that_comes_back_is_shown_again_and_its_points_are_not_sent_again(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    state.load(selected(point))
    state.queue([point], 0)
    with state.database.write() as tx:
        assert state.mirror.hide(tx, [A, "unknown"]) == [A]
        assert state.mirror.hide(tx, [A]) == []
    assert state.runs() == []
    assert state.mirror.open_runs(["1"]) == []
    assert state.backlog.next(FIRST) == []
    assert state.record(selected(point)) == 1
    assert len(state.runs()) == 1
    assert state.queue([point], 0) == {0: []}


def test_a_key_that_is_no_longer_selected_is_hidden_and_may_come_back(state: State) -> None:
    loss, accuracy = Point("loss", 1, 10, 1.0), Point("accuracy", 1, 10, 0.5)
    state.load(selected(loss, accuracy))
    state.load(selected(loss))
    assert [dict(run.values) for run in state.runs()] == [{"loss": 1.0}]
    assert [item.latest.key for item in state.backlog.next(FIRST)] == ["loss"]
    state.load(selected(loss, accuracy))
    assert [dict(run.values) for run in state.runs()] == [{"loss": 1.0, "accuracy": 0.5}]


def test_a_load_that_was_cut_short_hides_nothing_and_goes_on_where_it_was(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    state.load(selected(point), selected(point, run_id=B))
    state.load(selected(point), cut_short=True)
    assert len(state.runs()) == 2
    with state.database.write() as tx:
        again, is_new = state.progress.load(tx, "all", since_ms=2, mark="later")
        assert (again.position, again.since_ms, is_new) == ("here", 1, False)
        other, is_new = state.progress.load(tx, "other", since_ms=2, mark="later")
        assert (other.position, other.number, is_new) == (None, again.number + 1, True)
        much_later, is_new = state.progress.load(tx, "other", since_ms=4_000_000, mark="later")
        assert (much_later.position, is_new) == (None, True), "what was read first is old by now"


def test_a_sweep_goes_on_where_it_was_and_ends(state: State) -> None:
    for position in ("1", "2", None):
        with state.database.write() as tx:
            sweep = state.progress.sweep(tx)
            state.progress.sweep_reached(tx, position)
    assert sweep.position == "2"
    with state.database.write() as tx:
        assert state.progress.sweep(tx).position is None
        assert state.progress.sweep(tx).number == sweep.number + 1


def test_runs_that_ended_are_read_again_first_and_a_large_one_alone(state: State) -> None:
    ids = [f"{n:032x}" for n in range(4)]
    point = Point("loss", 99, 10, 1.0)
    running = [selected(point, run_id=run_id) for run_id in ids]
    state.load(*running)
    state.queue([point], 0)

    def recheck(points: int) -> tuple[int, list[str]]:
        with state.database.write() as tx:
            size = state.backlog.recheck(tx, runs=2, points=points)
        found = [item.context.run_id for item in state.backlog.next(FIRST)]
        state.queue([point], 0)
        return size, found

    state.record(selected(point, run_id=ids[3], status="FINISHED"))
    assert recheck(1000) == (200, [ids[0], ids[3]])
    assert recheck(1) == (100, [ids[1]]), "one at least"
    assert recheck(1000) == (200, [ids[2], ids[3]])
    assert recheck(1000) == (0, []), "the end"
    assert recheck(1000) == (200, [ids[0], ids[1]]), "and from the start again"


def test_nested_runs_know_their_root(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    child, grandchild, orphan, odd = "c" * 32, "d" * 32, "e" * 32, "f" * 32
    state.load(
        selected(point, run_id=grandchild, parent=child),
        selected(point, run_id=child, parent=A),
        selected(point),
        selected(point, run_id=orphan, parent=B),
        selected(point, run_id=odd, parent=odd),
    )
    found = {i.context.run_id: (i.context.parent_run_id, i.context.root_run_id) for i in state.backlog.next(FIRST)}
    assert found == {grandchild: (child, A), child: (A, A), A: (None, A), orphan: (B, B), odd: (odd, odd)}
    assert {run.run_id: run.parent_run_id for run in state.runs()}[child] == A


def test_the_registry_decides_before_the_tag_and_may_change_its_mind(state: State) -> None:
    state.load(selected(Point("loss", 1, 10, 1.0)))
    for stages, shown in (({A: "blue"}, "blue"), ({B: "green"}, "tagged")):
        with state.database.write() as tx:
            assert state.mirror.restage(tx, stages) == [A]
            assert state.mirror.restage(tx, stages) == []
        assert [run.model_stage for run in state.runs()] == [shown]


def test_a_run_knows_when_it_logged_last_and_how_often_it_usually_does(state: State) -> None:
    def logged(*times: tuple[str, int]) -> tuple[int | None, int | None, int | None]:
        state.record(selected(*(Point(key, when, LATELY + when, 0.5) for key, when in times)))
        (run,) = state.runs()
        last, alive = (None if when is None else when - LATELY for when in (run.last_ms, run.alive_ms))
        return last, alive, run.gap_ms

    assert logged() == (None, None, None)
    assert logged(("system/cpu", 500)) == (None, 500, None), "system metrics are no sign of progress"
    assert logged(("system/cpu", 900), ("loss", 1000)) == (1000, 1000, None)
    assert logged(("system/cpu", 5000), ("loss", 2000)) == (2000, 5000, 1000)
    assert logged(("system/cpu", 6000), ("loss", 2000)) == (2000, 6000, 1000)
    assert logged(("system/cpu", 6000), ("loss", 5000)) == (5000, 6000, 1600), "the newest gap counts for three tenths"
    assert logged(("loss", 4000)) == (4000, 4000, 1600), "what goes back in time tells nothing"


def test_only_runs_that_differ_are_named(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    state.load(selected(point), selected(point, run_id=B))
    with state.database.write() as tx:
        page = [selected(point), selected(Point("loss", 2, 20, 1.0), run_id=B)]
        assert state.mirror.record(tx, page, 1, count=True) == [B]
        page = [selected(point, status="FINISHED"), page[1]]
        assert state.mirror.record(tx, page, 1, count=True) == [A]
    assert {run.run_id for run in state.latest.named([A, "unknown"])} == {A}


def test_two_servers_share_a_state_file_without_mixing(database: Database) -> None:
    one, two = State(database, "one"), State(database, "two")
    one.load(selected(Point("loss", 1, 10, 1.0)))
    two.load()
    assert len(one.runs()) == 1
    assert two.runs() == []
    assert two.backlog.next(FIRST) == []
    assert two.backlog.count() == 0


class EverySeenPointIsQueuedOnce(RuleBasedStateMachine):
    """Points arrive in any order, two exporters come and fall behind: each gets each point exactly once."""

    kept: ClassVar[States]

    def __init__(self) -> None:
        super().__init__()
        self.database = self.kept.empty()
        self.state = State(self.database)
        self.points: dict[tuple[int, int], Point] = {}
        self.got: dict[int, list[Point]] = {0: [], 1: []}
        self.reader = 0

    @rule(step=st.integers(-3, 8), time=st.integers(0, 2))
    def log(self, step: int, time: int) -> None:
        """A newest point is seen as such, a late one is named by the feed."""
        self.points[step, time] = Point("loss", step, time, 1.0)
        self.state.record(selected(self.points[max(self.points)]))
        self.state.touch("loss", step)

    @rule()
    def newest(self) -> None:
        """A reader without a feed sees only that the latest moved."""
        step = max(self.points, default=(0, 0))[0] + 1
        self.points[step, 0] = Point("loss", step, 0, 1.0)
        self.state.record(selected(self.points[step, 0]))

    @rule(slots=st.sampled_from([(0,), (1,), (0, 1)]))
    def queue(self, slots: tuple[int, ...]) -> None:
        """One of the queues may be full."""
        self.state.backlog.expect(BOTH)
        fresh = self.state.queue(list(self.points.values()), *slots, wanted=BOTH)
        for slot in slots:
            self.got[slot] += fresh[slot]
            assert sorted(self.got[slot]) == sorted(self.points.values())

    @rule()
    def reread(self) -> None:
        with self.database.write() as tx:
            self.state.backlog.reset(tx)

    @invariant()
    def nothing_is_queued_twice(self) -> None:
        for got in self.got.values():
            assert len(got) == len(set(got))


def test_every_point_is_queued_once_for_each_exporter(kept: States) -> None:
    often = settings(
        max_examples=scaled(8, 40) if kept.shared else scaled(15, 100), stateful_step_count=20, deadline=None
    )
    EverySeenPointIsQueuedOnce.kept = kept
    run_state_machine_as_test(EverySeenPointIsQueuedOnce, settings=often)


def test_a_sweep_that_began_before_a_load_does_not_undo_it(state: State) -> None:
    point = Point("loss", 1, 10, 1.0)
    with state.database.write() as tx:
        sweep = state.progress.sweep(tx)
    state.load(selected(point), cut_short=True)
    with state.database.write() as tx:
        state.mirror.record(tx, [selected(point)], sweep.number, count=True)
        state.mirror.record(tx, [selected(point, status="FINISHED")], sweep.number, count=True)
        load, _ = state.progress.load(tx, "all", since_ms=1, mark="")
        assert state.mirror.settle(tx, ["1"], load.number) == []


@pytest.mark.parametrize("name", ["a\x00b", "\x01", "\x00\x01\x000\x011", "\x010"])
def test_a_name_may_hold_what_postgresql_cannot_store(state: State, name: str) -> None:
    run = Run(A, "1", name, RunStatus.RUNNING, 1, None, {}, (Point("loss", 1, 10, 1.0),))
    state.load(Selected(run, {"owner": name}, name, "", run.latest))
    (found,) = state.runs()
    assert (found.name, found.model_stage) == (name, name)
    (item,) = state.backlog.next(FIRST)
    assert (item.context.run_name, item.context.tags) == (name, {"owner": name})
