"""One poll against a scripted MLflow and a real state database."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import structlog

from mlflow_monitoring_exporter.config.schema import GaugesConfig
from mlflow_monitoring_exporter.config.section import PatternFilter
from mlflow_monitoring_exporter.core.errors import SourceUnavailableError, StateFullError
from mlflow_monitoring_exporter.core.values import RunStatus
from mlflow_monitoring_exporter.pipeline import enqueue as module
from mlflow_monitoring_exporter.pipeline.poll import Poller, PollReport
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.schedule.poll_job import PollJob
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.gauges import metrics, of_family
from tests.parts.scripted_mlflow import BEGAN
from tests.schedule.conftest import World


def test_gauges_are_published_and_every_point_is_queued_once(world: World) -> None:
    world.mlflow.log("a", "loss", *range(25))
    poller = world.poller("sink")
    report = poller.run(complete=True)
    assert (report.experiments, report.runs, report.series, report.enqueued) == (2, 1, 1, {"sink": 25})
    assert world.shown() == {("a", "loss"): 12.0}
    assert world.steps("sink") == list(range(25))
    assert poller.run(complete=True).enqueued == {"sink": 0}
    world.mlflow.log("a", "loss", 25, 26)
    assert poller.run(complete=False).enqueued == {"sink": 2}
    assert world.steps("sink") == [25, 26]


def test_an_incremental_poll_asks_only_for_series_that_moved(world: World) -> None:
    world.mlflow.log("a", "loss", 1)
    world.mlflow.log("b", "loss", 1)
    poller = world.poller("sink")
    poller.run(complete=True)
    world.mlflow.asked.clear()
    poller.run(complete=False)
    assert world.mlflow.asked == []
    world.mlflow.log("b", "loss", 2)
    poller.run(complete=False)
    assert world.mlflow.asked == [("b", "loss")]


def test_an_exporter_that_is_added_later_gets_everything_and_the_first_nothing_twice(world: World) -> None:
    world.mlflow.log("a", "loss", *range(5))
    world.poller("old").run(complete=True)
    assert world.steps("old") == list(range(5))
    world.mlflow.log("a", "loss", 5)
    assert world.poller("old", "new").run(complete=False).enqueued == {"old": 1, "new": 6}


@pytest.mark.parametrize("where", ["experiments", "changes"])
def test_a_poll_that_fails_early_shows_nothing_and_forgets_nothing(world: World, where: str) -> None:
    world.mlflow.log("a", "loss", 1)
    world.mlflow.log("b", "loss", 1)
    poller = world.poller("sink")
    poller.run(complete=True)
    del world.mlflow.homes["b"]
    world.mlflow.broken = where
    with pytest.raises(SourceUnavailableError):
        poller.run(complete=False)
    assert len(world.snapshots) == 1
    world.mlflow.broken = ""
    assert poller.run(complete=False).gone == 1
    assert world.shown() == {("a", "loss"): 0.5}


def test_a_poll_that_fails_among_histories_is_continued_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POINTS", 1)
    world.mlflow.log("a", "loss", *range(4))
    world.mlflow.broken = "histories"
    poller = world.poller("sink")
    with pytest.raises(SourceUnavailableError):
        poller.run(complete=True)
    assert world.shown() == {("a", "loss"): 1.5}, "gauges do not wait for histories"
    world.mlflow.broken = ""
    poller.run(complete=False)
    assert world.steps("sink") == [0, 1, 2, 3], "what was queued already is not queued again"


def test_a_run_that_disappears_meanwhile_is_left_for_the_next_poll(world: World) -> None:
    world.mlflow.log("a", "loss", 1)
    world.mlflow.vanished.add("a")
    poller = world.poller("sink")
    assert poller.run(complete=True).enqueued == {"sink": 0}
    world.mlflow.vanished.clear()
    assert poller.run(complete=False).enqueued == {"sink": 1}


def test_a_first_load_goes_back_only_as_far_as_asked_and_later_everything_counts(world: World) -> None:
    world.mlflow.log("a", "loss", *range(10))  # step n has the time 10 n
    world.outbox.register(["sink"], since_ms=65)
    poller = world.poller("sink")
    assert poller.run(complete=True).enqueued == {"sink": 3}
    assert world.shown() == {("a", "loss"): 4.5}, "gauges see everything"
    assert world.steps("sink") == [7, 8, 9]
    world.mlflow.log("a", "loss", 10)
    world.mlflow.log("b", "loss", 1, 2)
    poller.run(complete=True)
    assert world.steps("sink") == [10, 1, 2], "what is logged from now on, however old it says it is"
    assert world.poller("sink", "later").run(complete=True).enqueued == {"sink": 0, "later": 13}


def test_a_first_load_that_is_cut_short_goes_on_with_the_same_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POINTS", 1)
    world.mlflow.log("a", "loss", *range(10))
    world.mlflow.broken = "histories"
    world.outbox.register(["sink"], since_ms=65)
    with pytest.raises(SourceUnavailableError):
        world.poller("sink").run(complete=True)
    world.mlflow.broken = ""
    world.outbox.register(["sink"], since_ms=95)
    world.poller("sink").run(complete=True)
    assert world.steps("sink") == [7, 8, 9]


def test_a_long_load_leaves_the_next_poll_its_turn_and_nothing_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POINTS", 1)
    for run_id in "abc":
        world.mlflow.log(run_id, "loss", *range(10))
    world.outbox.register(["sink"], since_ms=45)
    poller = world.poller("sink", interval=0.001)
    reports = [poller.run(complete=False) for _ in range(3)]
    assert [(report.enqueued["sink"], report.unfinished) for report in reports] == [(5, True), (5, True), (5, False)]
    assert sorted(world.steps("sink")) == sorted([5, 6, 7, 8, 9] * 3), "the first load keeps its limit until it is over"
    assert len(world.snapshots) == 3
    world.mlflow.log("d", "loss", 1)
    assert world.poller("sink", interval=0.001).run(complete=True).enqueued == {"sink": 1}


def test_without_histories_only_latest_points_are_sent(world: World) -> None:
    world.mlflow.log("a", "loss", *range(9))
    world.poller("sink", history=False).run(complete=True)
    assert world.mlflow.asked == []
    assert world.steps("sink") == [8]


def test_only_what_is_selected_goes_out(world: World) -> None:
    world.mlflow.log("a", "loss", 1)
    world.mlflow.log("a", "system/cpu", 1)
    world.mlflow.log("b", "loss", 1, experiment="2")
    poller = world.poller(
        "sink",
        experiments=PatternFilter(include=("*",), exclude=("tw?",)),
        metrics={"exclude": ["system/*"]},
        tags=["stage"],
    )
    poller.run(complete=True)
    assert world.shown() == {("a", "loss"): 0.5}
    head = world.outbox.head(world.outbox.register(["sink"])["sink"])
    assert head is not None
    assert [(sample.key, dict(sample.run.tags)) for sample in head.batch.samples] == [("loss", {"stage": "dev"})]
    ((labels, _),) = metrics(world.snapshots[-1])
    assert labels["model_stage"] == "champion", "the registry decides before the tag"


def test_an_experiment_without_runs_is_shown_empty_so_that_its_old_series_go(world: World) -> None:
    world.poller().run(complete=True)
    assert of_family(world.snapshots[-1], "mlflow_experiment_runs", "experiment_name", "status") == {
        (name, status.value): 0 for name in ("one", "two") for status in RunStatus
    }


def test_a_daemon_that_stops_interrupts_its_poll(world: World) -> None:
    world.mlflow.log("a", "loss", 1)
    world.stop.set()
    with pytest.raises(PollInterruptedError):
        world.poller("sink").run(complete=True)
    assert world.snapshots == []


def test_the_queue_hears_of_what_was_queued_as_soon_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POINTS", 2)
    for run_id in "abc":
        world.mlflow.log(run_id, "loss", 0, 1)
    world.poller("sink").run(complete=True)
    assert world.wakes == 3
    assert sum(world.read) == 6


def test_a_full_queue_blocks_its_own_exporter_only_and_misses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POINTS", 2)
    for run_id in "abcdefgh":
        world.mlflow.log(run_id, "loss", *range(6))
    world.max_bytes = 900
    poller = world.poller("dead", "alive")
    alive: list[int] = []
    report = poller.run(complete=True)
    assert set(report.full) == {"dead", "alive"}
    assert world.shown().keys() == {(run_id, "loss") for run_id in "abcdefgh"}, "gauges are not affected"
    while report.full != ("dead",):
        assert "dead" in report.full
        alive += world.steps("alive")
        report = poller.run(complete=False)
    alive += world.steps("alive")
    assert len(alive) == 48, "each point once, whatever happens to the other"
    held = len(world.steps("dead"))
    assert 0 < held < 48
    while (report := poller.run(complete=False)).full or sum(report.enqueued.values()):
        assert report.enqueued["alive"] == 0
        held += len(world.steps("dead"))
    assert held + len(world.steps("dead")) == 48, "and the blocked one gets everything, too"


def test_where_the_operator_chose_so_the_oldest_samples_are_dropped_and_counted(world: World) -> None:
    world.max_bytes, world.drop_oldest = 900, True
    for run_id in "abcdefgh":
        world.mlflow.log(run_id, "loss", *range(20))
    report = world.poller("sink").run(complete=True)
    assert report.full == ()
    assert report.enqueued == {"sink": 160}
    ledger = world.outbox.ledger(world.outbox.register(["sink"])["sink"])
    assert ledger.balanced
    assert ledger.queued_bytes <= 900
    assert ledger.overflowed == 160 - ledger.queued > 0


def test_a_first_load_that_is_cut_short_goes_on_where_it_was(world: World) -> None:
    for run_id in "abcd":
        world.mlflow.log(run_id, "loss", 1)
    world.mlflow.broken = "runs"
    with pytest.raises(SourceUnavailableError):
        world.poller("sink").run(complete=False)
    assert world.mlflow.listed == ["a"]
    world.mlflow.broken = ""
    world.poller("sink").run(complete=False)
    assert world.mlflow.listed == ["a", "b", "c", "d"], "as another process does"
    assert len(world.shown()) == 4
    assert world.steps("sink") == [1] * 4


def test_runs_are_told_of_as_they_are_read_and_then_series(world: World) -> None:
    for run_id in "abc":
        world.mlflow.log(run_id, "loss", 1)
    world.poller("sink").run(complete=True)
    assert (world.loading, world.sending) == ([1, 2, 3], [(3, 3)])


def test_another_selection_is_read_at_once_without_reading_histories_again(world: World) -> None:
    world.mlflow.log("a", "loss", *range(3))
    world.mlflow.log("a", "accuracy", *range(3))
    world.mlflow.statuses["a"] = RunStatus.FINISHED
    world.poller("sink", metrics={"include": ["loss"]}).run(complete=False)
    world.mlflow.asked.clear()
    world.poller("sink").run(complete=False)
    assert world.mlflow.asked == [("a", "accuracy")]
    assert world.shown().keys() == {("a", "loss"), ("a", "accuracy")}
    world.poller("sink", metrics={"include": ["accuracy"]}).run(complete=False)
    assert world.shown().keys() == {("a", "accuracy")}


def test_another_selection_lets_a_feed_go_on_where_it_was(world: World) -> None:
    world.mlflow.exact = True
    world.mlflow.log("a", "loss", 1)
    world.poller("sink").run(complete=False)
    assert world.mlflow.mark() == "mark 1"
    world.mlflow.log("b", "loss", 1)
    for poller, stood in ((world.poller("sink", tags=[]), "mark 1"), (world.poller("sink", history=False), "mark 2")):
        poller.run(complete=False)
        poller.run(complete=False)
        assert world.mlflow.last is not None
        assert world.mlflow.last.mark == stood


def test_histories_are_read_once_they_are_wanted(world: World) -> None:
    world.mlflow.log("a", "loss", *range(3))
    world.mlflow.statuses["a"] = RunStatus.FINISHED
    world.poller("sink", history=False).run(complete=False)
    assert world.steps("sink") == [2]
    world.poller("sink").run(complete=False)
    assert world.steps("sink") == [0, 1]


def test_of_a_series_that_moved_only_the_tail_is_read(world: World) -> None:
    world.mlflow.log("a", "loss", *range(5))
    poller = world.poller("sink")
    poller.run(complete=False)
    world.mlflow.log("a", "loss", 5, 6)
    poller.run(complete=False)
    assert world.mlflow.tails == [None, 4]


def test_an_experiment_that_gets_active_enters_and_only_its_runs_are_read(world: World) -> None:
    for run_id, experiment in (("a", "1"), ("b", "2")):
        world.mlflow.log(run_id, "loss", 1, experiment=experiment)
    world.mlflow.active = {"1": BEGAN + 10, "2": BEGAN + 5}
    poller = world.poller("sink", max_experiments=1)
    poller.run(complete=False)
    assert world.shown().keys() == {("a", "loss")}
    world.mlflow.listed.clear()
    world.mlflow.began["b"] = BEGAN + 20
    assert poller.run(complete=False).experiments == 1
    assert world.shown().keys() == {("b", "loss")}
    assert world.mlflow.listed == ["b"]
    world.mlflow.began["a"] = BEGAN + 30
    poller.run(complete=False)
    assert world.shown().keys() == {("a", "loss")}
    assert world.steps("sink") == [1, 1], "what was sent is not sent again when it comes back"


def test_an_experiment_that_is_new_is_asked_about_alone(world: World) -> None:
    world.mlflow.log("a", "loss", 1)
    world.mlflow.active = {"1": BEGAN + 10, "3": BEGAN + 20}
    poller = world.poller("sink", max_experiments=1)
    poller.run(complete=False)
    world.mlflow.names["3"] = "three"
    world.mlflow.log("c", "loss", 1, experiment="3")
    world.mlflow.ranked.clear()
    poller.run(complete=False)
    assert world.mlflow.ranked == [["3"]]
    assert world.shown().keys() == {("c", "loss")}


def test_there_are_never_more_series_than_allowed_and_it_is_told(world: World) -> None:
    for run_id in "abcd":
        world.mlflow.log(run_id, "loss", 1)
        world.mlflow.log(run_id, "accuracy", 1)
    world.gauges = GaugesConfig(max_series=50)
    poller = world.poller("sink")
    report = poller.run(complete=False)
    everything = 2 * 5 + 1 + 2 * 6 + 6 + 4 * (5 + 2)  # statuses, last start, aggregates, the registry, runs
    assert (report.series, report.shown, world.snapshots[-1].series_count) == (8, 50, 50)
    assert report.left_out == {"max_series": everything - 50, "same_labels": 0}
    assert report.enqueued == {"sink": 8}, "sinks get everything"
    before = world.shown()
    world.mlflow.log("a", "loss", 2)
    poller.run(complete=False)
    assert world.shown().keys() == before.keys(), "the same ones stay in"
    readiness = Readiness()
    metrics = SelfMetrics(readiness)
    PollJob(poller, server="", whole=0, readiness=readiness, metrics=metrics, patience=60, on_damaged=lambda: None)()
    value = metrics.registry.get_sample_value
    assert value("mlflow_exporter_series") == 50
    assert value("mlflow_exporter_series_left_out", {"reason": "max_series"}) == everything - 50
    assert value("mlflow_exporter_series_dropped_total", {"reason": "max_series"}) == 0, "of no new snapshot"
    world.mlflow.log("a", "loss", 3)
    PollJob(poller, server="", whole=0, readiness=readiness, metrics=metrics, patience=60, on_damaged=lambda: None)()
    assert value("mlflow_exporter_series_dropped_total", {"reason": "max_series"}) == everything - 50
    most = {"server": "", "experiment_id": "1", "experiment_name": "one"}
    assert value("mlflow_exporter_series_wanted", most) == everything - 5 - 6, "without the other and the registry"


def test_who_wants_most_is_named_once_while_there_is_no_room(world: World) -> None:
    world.mlflow.names["1"] = "x" * 500
    world.mlflow.log("a", "loss", 1)
    world.gauges = GaugesConfig(max_series=20)
    readiness = Readiness()
    metrics = SelfMetrics(readiness)
    job = PollJob(
        world.poller(), server="", whole=0, readiness=readiness, metrics=metrics, patience=60, on_damaged=lambda: None
    )

    def wanted() -> list[dict[str, str]]:
        return [s.labels for family in metrics.series_wanted.collect() for s in family.samples]

    with structlog.testing.capture_logs() as lines:
        for step in range(2, 5):
            world.mlflow.log("a", "loss", step)
            job()
    warned = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["experiment_id"], line["experiment"]) for line in warned] == [("1", "x" * 500)]
    (labels,) = wanted()
    assert len(labels["experiment_name"]) <= 200
    world.gauges = GaugesConfig()
    PollJob(
        world.poller(), server="", whole=0, readiness=readiness, metrics=metrics, patience=60, on_damaged=lambda: None
    )()
    assert wanted() == []


def test_what_takes_long_to_count_is_counted_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0

    def slow_count(mirror: Mirror) -> tuple[int, int]:
        nonlocal clock
        clock += 1.0
        return count(mirror)

    count = Mirror.counts
    monkeypatch.setattr(Mirror, "counts", slow_count)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    world.mlflow.log("a", "loss", 1)
    poller = world.poller(interval=3600)
    assert poller.run(complete=False).runs == 1
    world.mlflow.log("b", "loss", 1)
    assert poller.run(complete=False).runs == 1
    clock += 30
    assert poller.run(complete=False).runs == 2, "although nothing changed since"
    world.mlflow.log("c", "loss", 1)
    assert poller.run(complete=True).runs == 3


def step(poller: Poller) -> PollReport:
    """A poll that takes a step of the sweep, too."""
    poller._sync._swept = float("-inf")
    return poller.run(complete=False)


class TestSweep:
    """What no filter finds."""

    @pytest.fixture
    def poller(self, world: World) -> Poller:
        for run_id in "abcd":
            world.mlflow.log(run_id, "loss", 1)
            world.mlflow.statuses[run_id] = RunStatus.FINISHED
        poller = world.poller("sink", sweep={"page": 2, "every": 3600})
        poller.run(complete=False)
        world.mlflow.listed.clear()
        world.mlflow.asked.clear()
        return poller

    def test_it_looks_at_so_many_runs_with_each_step_and_begins_again(self, world: World, poller: Poller) -> None:
        for _ in range(5):
            step(poller)
        assert world.mlflow.listed == list("abcdabcdab")

    def test_it_goes_on_where_it_was_after_a_restart(self, world: World, poller: Poller) -> None:
        step(poller)
        again = world.poller("sink", sweep={"page": 2, "every": 3600})
        step(again)
        assert world.mlflow.listed == list("abcd")

    def test_it_finds_what_is_gone_once_it_is_round(self, world: World, poller: Poller) -> None:
        del world.mlflow.homes["a"]
        assert [step(poller).gone for _ in range(4)] == [0, 1, 0, 0]
        assert world.shown().keys() == {(run_id, "loss") for run_id in "bcd"}

    def test_it_reads_histories_again(self, world: World, poller: Poller) -> None:
        world.mlflow.log("c", "loss", 0)
        for _ in range(3):
            step(poller)
        assert sorted(world.steps("sink")) == [0, 1, 1, 1, 1]
        assert set(world.mlflow.asked) == {(run_id, "loss") for run_id in "abcd"}

    def test_it_reads_no_history_where_a_feed_tells(self, world: World, poller: Poller) -> None:
        world.mlflow.exact = True
        world.mlflow.log("c", "loss", 0)
        for _ in range(3):
            step(poller)
        assert world.mlflow.asked == []
        world.mlflow.touched = [("c", "loss", 0)]
        step(poller)
        assert world.mlflow.asked == [("c", "loss")]
        assert sorted(world.steps("sink")) == [0, 1, 1, 1, 1]

    def test_a_large_run_is_followed_by_a_pause(self, world: World, poller: Poller) -> None:
        world.mlflow.log("a", "loss", 60_000)
        world.mlflow.log("b", "loss", 60_000)
        poller.run(complete=True)
        for reread in (["a"], [], ["b"], []):
            world.mlflow.asked.clear()
            step(poller)
            assert [run_id for run_id, _ in world.mlflow.asked] == reread

    def test_it_waits_for_its_time(self, world: World, poller: Poller) -> None:
        for _ in range(3):
            poller.run(complete=False)
        assert not world.mlflow.listed
        assert not world.mlflow.asked


class TestPollJob:
    """What the daemon does about a poll's outcome."""

    @pytest.fixture
    def readiness(self) -> Readiness:
        return Readiness()

    @pytest.fixture
    def metrics(self, readiness: Readiness) -> SelfMetrics:
        return SelfMetrics(readiness)

    def job(self, world: World, readiness: Readiness, metrics: SelfMetrics) -> PollJob:
        self.damaged = 0
        return PollJob(
            world.poller("sink"),
            server="",
            whole=0,
            readiness=readiness,
            metrics=metrics,
            patience=60,
            on_damaged=self.note_damage,
        )

    def note_damage(self) -> None:
        self.damaged += 1

    def test_an_outage_is_told_and_recovered_from(
        self, world: World, readiness: Readiness, metrics: SelfMetrics
    ) -> None:
        world.mlflow.broken = "experiments"
        job = self.job(world, readiness, metrics)
        assert not readiness.ready
        job()
        assert readiness.report()["mlflow"].reason == "experiments failed"
        world.mlflow.broken = ""
        job()
        assert readiness.ready
        value = metrics.registry.get_sample_value
        assert value("mlflow_exporter_polls_total", {"result": "failed"}) == 1
        assert value("mlflow_exporter_polls_total", {"result": "ok"}) == 1
        assert value("mlflow_exporter_poll_duration_seconds_count") == 2
        assert value("mlflow_exporter_experiments") == 2

    def test_a_daemon_that_starts_again_goes_on_where_it_stood(
        self, world: World, readiness: Readiness, metrics: SelfMetrics
    ) -> None:
        world.mlflow.log("a", "loss", 1)
        world.poller("sink").run(complete=True)
        world.mlflow.asked.clear()
        world.mlflow.listed.clear()
        job = self.job(world, readiness, metrics)
        job()
        job()
        assert world.mlflow.asked == []
        assert world.mlflow.listed == []
        assert world.shown() == {("a", "loss"): 0.5}, "and shows everything at once"

    def test_a_full_disk_and_a_bug_end_nothing(
        self, world: World, readiness: Readiness, metrics: SelfMetrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = self.job(world, readiness, metrics)
        for error, component in ((StateFullError("the disk is full"), "state"), (ZeroDivisionError("bug"), "mlflow")):
            with monkeypatch.context() as patch:
                patch.setattr(Poller, "run", _raising(error))
                job()
            assert not readiness.report()[component].ready
        job()
        assert readiness.ready

    def test_a_state_file_that_is_gone_is_told_and_a_new_one_asked_for(
        self, world: World, readiness: Readiness, metrics: SelfMetrics, tmp_path: Path
    ) -> None:
        job = self.job(world, readiness, metrics)
        (tmp_path / "state.db").unlink()
        job()
        assert "was removed or replaced" in readiness.report()["state"].reason
        assert self.damaged == 1

    def test_a_full_queue_makes_the_daemon_unready_until_it_shrinks(
        self, world: World, readiness: Readiness, metrics: SelfMetrics
    ) -> None:
        world.max_bytes = 1
        world.mlflow.log("a", "loss", 1)
        job = self.job(world, readiness, metrics)
        job()
        assert readiness.ready
        world.mlflow.log("a", "loss", 2)
        job()
        assert readiness.report()["state"].reason.startswith("queue full (state.max_size) for sink")
        world.steps("sink")
        job()
        assert readiness.ready
        assert world.steps("sink") == [2]

    def test_stopping_is_no_failure(self, world: World, readiness: Readiness, metrics: SelfMetrics) -> None:
        world.mlflow.log("a", "loss", 1)
        world.stop.set()
        self.job(world, readiness, metrics)()
        assert readiness.report()["mlflow"].reason == "not read yet"


def _raising(error: Exception) -> object:
    def run(_self: Poller, **_: bool) -> None:
        raise error

    return run
