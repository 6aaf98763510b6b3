"""What is shown after any sequence of polls is what somebody who comes anew would see."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig
from mlflow_monitoring_exporter.core.errors import SourceUnavailableError, StateFullError
from mlflow_monitoring_exporter.core.values import Family, ModelVersion, RunStatus, Snapshot
from mlflow_monitoring_exporter.pipeline import model_registry as registry
from mlflow_monitoring_exporter.pipeline.poll import Poller, PollReport
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.latest_values import LatestValues
from mlflow_monitoring_exporter.transform.gauges import Gauges
from tests.parts.gauges import all_series, metrics, of_family
from tests.parts.scaled import scaled
from tests.parts.scripted_mlflow import BEGAN, Mlflow

NOW = 1_790_000_000.0
HOUR = 3600


@dataclass
class World:
    """Polls of one scripted MLflow, by a clock that a test sets."""

    directory: Path
    mlflow: Mlflow = field(default_factory=Mlflow)
    now: float = NOW
    gauges: GaugesConfig = field(default_factory=GaugesConfig)
    shown: list[Snapshot] = field(default_factory=list)
    opened: list[Database] = field(default_factory=list)

    def poller(self, name: str = "state", **config: object) -> Poller:
        database = Database(f"sqlite:///{self.directory}/{name}.db")
        self.opened.append(database)
        return build_poller(
            self.mlflow,
            ExportConfig.model_validate({"sweep": {"every": "1d"}, **config}),
            gauges=self.gauges,
            database=database,
            queues=[],
            events=PollEvents(self.shown.append),
            stop=threading.Event(),
            clock=lambda: self.now,
        )

    def poll(self, poller: Poller) -> Snapshot:
        poller.run(complete=False)
        return self.shown[-1]

    def close(self) -> None:
        for database in self.opened:
            database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def at_ms(world: World, hours: float = 0.0) -> int:
    return round((world.now - hours * HOUR) * 1000)


RUNS = [letter * 32 for letter in "abcdefgh"]
#: Fewer series than some of these worlds have.
ROOM = 60
KEYS = ("loss", "accuracy", "val/acc", "val acc", "system/cpu")


class PollsAgainstAFreshLook(RuleBasedStateMachine):
    """Anything may happen between two polls."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        config = {"runs": {"last": 2, "best": 1}, "max_series": ROOM}
        self.world = World(Path(self.directory.name), gauges=GaugesConfig.model_validate(config))
        self.mlflow = self.world.mlflow
        self.mlflow.versions = (ModelVersion("model", 0, RUNS[0], "", ()),)  # an empty one waits for the sweep
        self.poller = self.world.poller()
        self.count = 0

    def teardown(self) -> None:
        self.world.close()
        self.directory.cleanup()

    @rule(
        run_id=st.sampled_from(RUNS),
        key=st.sampled_from(KEYS),
        value=st.floats() | st.sampled_from([0.25, 0.5, math.nan]),
        home=st.sampled_from("12"),
        unknown=st.sampled_from([None, None, 0, -1, round(NOW)]),
    )
    def log(self, run_id: str, key: str, value: float, home: str, unknown: int | None) -> None:
        self.count += 1
        self.mlflow.began.setdefault(run_id, BEGAN + self.count * 1000 if unknown is None else unknown)
        when = at_ms(self.world) if unknown is None else unknown
        self.mlflow.put(run_id, key, value, at_ms=when, experiment=self.mlflow.homes.get(run_id, home))
        self.mlflow.edited.add(run_id)
        self.mlflow.deleted.discard(run_id)

    @precondition(lambda self: self.mlflow.homes)
    @rule(which=st.integers(0, 7), status=st.sampled_from(RunStatus))
    def change_status(self, which: int, status: RunStatus) -> None:
        self.count += 1
        run_id = sorted(self.mlflow.homes)[which % len(self.mlflow.homes)]
        self.mlflow.statuses[run_id] = status
        self.mlflow.ended[run_id] = BEGAN + self.count * 1000
        self.mlflow.edited.add(run_id)

    @precondition(lambda self: self.mlflow.homes)
    @rule(which=st.integers(0, 7), parent=st.none() | st.sampled_from([*RUNS, "elsewhere"]))
    def nest(self, which: int, parent: str | None) -> None:
        run_id = sorted(self.mlflow.homes)[which % len(self.mlflow.homes)]
        self.mlflow.tags[run_id] = {"mlflow.parentRunId": parent} if parent else {}
        self.mlflow.edited.add(run_id)

    @rule(key=st.sampled_from(KEYS), text=st.sampled_from(["true", "False", "perhaps"]))
    def tag_experiment(self, key: str, text: str) -> None:
        self.mlflow.hints["1"] = {f"greater_is_better.{key}": text}

    @precondition(lambda self: self.mlflow.homes)
    @rule(which=st.integers(0, 7))
    def delete(self, which: int) -> None:
        run_id = sorted(self.mlflow.homes)[which % len(self.mlflow.homes)]
        del self.mlflow.homes[run_id], self.mlflow.points[run_id]
        self.mlflow.deleted.add(run_id)

    @rule(name=st.sampled_from(["one", "uno", "eins"]))
    def rename_experiment(self, name: str) -> None:
        if "1" in self.mlflow.names:
            self.mlflow.names["1"] = name

    @rule()
    def delete_or_restore_experiment(self) -> None:
        if self.mlflow.names.pop("2", None) is None:
            self.mlflow.names["2"] = "two"

    @rule(champion=st.integers(0, 3), count=st.integers(1, 3))
    def promote(self, champion: int, count: int) -> None:
        self.mlflow.versions = tuple(
            ModelVersion("model", n, RUNS[n], "", ("champion",) if n == champion else ()) for n in range(count)
        )

    @rule(seconds=st.sampled_from([60, HOUR, 25 * HOUR]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def restart(self) -> None:
        before = self.world.poll(self.poller)
        self.poller = self.world.poller()
        assert self.poller.show_known() is not None
        assert self.world.shown[-1].groups == before.groups, "before MLflow is asked"
        assert self.world.poll(self.poller).groups == before.groups

    @rule()
    def look_at_runs_alone(self) -> None:
        self.poller.run(complete=False, runs_only=True)

    @rule()
    def poll_twice(self) -> None:
        assert self.world.poll(self.poller) is self.world.poll(self.poller)

    @invariant()
    def the_snapshot_is_what_a_fresh_look_sees(self) -> None:
        found = self.world.poll(self.poller)
        self.count += 1
        fresh = self.world.poll(self.world.poller(f"fresh-{self.count}"))
        assert told(found) == told(fresh)
        assert found.series_count <= ROOM
        unique = [(family.name, series.labels) for family in found.families() for series in family.series]
        assert len(unique) == len(set(unique))


def told(snapshot: Snapshot) -> dict[str, list[Family]]:
    """But for what only those know who were there: how often an alias changed, how often a run usually logs."""
    unknown = ("mlflow_model_alias_changes_total", "mlflow_run_stalled", "mlflow_run_orphaned")
    return {group: [f for f in families if f.name not in unknown] for group, families in snapshot.groups.items()}


TestPollsAgainstAFreshLook = pytest.mark.timeout(600)(PollsAgainstAFreshLook.TestCase)  # each look makes a database
TestPollsAgainstAFreshLook.settings = settings(max_examples=scaled(5, 25), stateful_step_count=15, deadline=None)


def test_a_promotion_shows_with_the_next_poll(world: World) -> None:
    old, new = RUNS[:2]
    world.mlflow.put(old, "accuracy", 0.5, experiment="1")
    world.mlflow.put(new, "accuracy", 0.75, experiment="1")
    world.mlflow.versions = (ModelVersion("m", 1, old, "", ("champion",)), ModelVersion("m", 2, new, "", ()))
    poller = world.poller()
    world.poll(poller)
    world.mlflow.versions = (ModelVersion("m", 1, old, "", ()), ModelVersion("m", 2, new, "", ("champion",)))
    snapshot = world.poll(poller)
    assert of_family(snapshot, "mlflow_accuracy", "run_id", "model_stage") == {
        (old[:8], "dev"): 0.5,
        (new[:8], "champion"): 0.75,
    }
    assert of_family(snapshot, "mlflow_model_alias_metric", "alias") == {("champion",): 0.75}
    assert of_family(snapshot, "mlflow_model_alias_metric_delta", "alias") == {("champion",): 0.0}
    assert of_family(snapshot, "mlflow_model_alias_changes_total", "alias") == {("champion",): 1.0}


def test_alias_changes_are_counted_over_restarts(world: World) -> None:
    def promote(*aliases: str) -> dict[tuple[str, ...], float]:
        world.mlflow.versions = (ModelVersion("m", 1, "", "", aliases), ModelVersion("m", 2, "", "", ()))
        return of_family(world.poll(world.poller()), "mlflow_model_alias_changes_total", "alias")

    assert promote("champion") == {("champion",): 0.0}, "what was there before is no change"
    assert promote("champion", "blue") == {("champion",): 0.0, ("blue",): 1.0}
    assert promote("blue") == {("champion",): 1.0, ("blue",): 1.0}
    assert promote("champion", "blue") == {("champion",): 2.0, ("blue",): 1.0}
    world.mlflow.versions = (ModelVersion("other", 1, "", "", ()),)
    assert of_family(world.poll(world.poller()), "mlflow_model_alias_changes_total", "alias") == {}


def test_an_empty_registry_is_asked_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.mlflow.versions = ()
    poller = world.poller()
    for _ in range(3):
        world.poll(poller)
    assert world.mlflow.refreshed == [True]
    world.mlflow.versions = (ModelVersion("m", 1, "", "", ()),)
    poller.run(complete=True)
    world.poll(poller)
    assert world.mlflow.refreshed == [True, True, False]
    world.mlflow.versions = ()
    monkeypatch.setattr(registry, "_EMPTY_FOR", 0.0)
    for _ in range(3):
        world.poll(poller)
    assert world.mlflow.refreshed == [True, True, False, False, False, False]


def test_a_champion_of_an_experiment_that_is_not_watched_is_read_all_the_same(world: World) -> None:
    world.mlflow.active = {"1": BEGAN + 10, "2": BEGAN + 5}
    world.mlflow.put(RUNS[0], "accuracy", 0.5, experiment="1")
    world.mlflow.put(RUNS[1], "accuracy", 0.75, experiment="2")
    world.mlflow.versions = (ModelVersion("m", 1, RUNS[1], "", ("champion",)),)
    snapshot = world.poll(world.poller(max_experiments=1))
    assert of_family(snapshot, "mlflow_accuracy", "run_id") == {(RUNS[0][:8],): 0.5}
    assert of_family(snapshot, "mlflow_model_alias_metric", "alias", "metric") == {("champion", "accuracy"): 0.75}
    watched = of_family(world.poll(world.poller()), "mlflow_model_alias_metric", "alias", "metric")
    assert watched == {("champion", "accuracy"): 0.75}
    excluded = world.poll(world.poller("other", experiments={"exclude": ["two"]}))
    assert of_family(excluded, "mlflow_model_alias_metric", "alias", "metric") == {}


def test_a_champion_whose_experiment_is_not_watched_any_more_stays(world: World) -> None:
    world.mlflow.active = {"1": BEGAN + 10, "3": BEGAN + 20}
    world.mlflow.put(RUNS[0], "accuracy", 0.5, experiment="1")
    world.mlflow.versions = (ModelVersion("m", 1, RUNS[0], "", ("champion",)),)
    poller = world.poller(max_experiments=1)
    world.poll(poller)
    world.mlflow.names["3"] = "three"
    world.mlflow.put(RUNS[1], "accuracy", 0.75, experiment="3")
    snapshot = world.poll(poller)
    assert of_family(snapshot, "mlflow_accuracy", "experiment_name") == {("three",): 0.75}
    assert of_family(snapshot, "mlflow_model_alias_metric", "alias") == {("champion",): 0.5}


def test_a_champion_that_began_long_before_it_was_logged_shows_with_the_next_poll(world: World) -> None:
    world.mlflow.put(RUNS[0], "accuracy", 0.5, experiment="1")
    poller = world.poller()
    world.poll(poller)
    world.mlflow.put(RUNS[1], "accuracy", 0.75, experiment="1")  # nothing but a sweep would find it: not open,
    world.mlflow.statuses[RUNS[1]] = RunStatus.FINISHED  # and not among what changed lately
    assert of_family(world.poll(poller), "mlflow_accuracy", "run_id") == {(RUNS[0][:8],): 0.5}
    world.mlflow.versions = (ModelVersion("m", 1, RUNS[1], "", ("champion",)),)
    snapshot = world.poll(poller)
    assert of_family(snapshot, "mlflow_model_alias_metric", "alias", "metric") == {("champion", "accuracy"): 0.75}
    assert of_family(snapshot, "mlflow_accuracy", "run_id") == {(RUNS[0][:8],): 0.5, (RUNS[1][:8],): 0.75}


def test_a_look_at_runs_alone_asks_for_nothing_else_and_the_first_one_for_everything(world: World) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    poller = world.poller()
    poller.run(complete=False, runs_only=True)
    assert world.mlflow.refreshed == [True]
    assert [value for _, value in metrics(world.shown[-1])] == [0.5]
    world.mlflow.put(RUNS[0], "loss", 0.25)
    world.mlflow.put(RUNS[1], "loss", 0.125, experiment="1")
    world.mlflow.broken = "experiments"
    poller.run(complete=False, runs_only=True)
    assert sorted(value for _, value in metrics(world.shown[-1])) == [0.125, 0.25]
    assert world.mlflow.refreshed == [True]
    assert of_family(world.shown[-1], "mlflow_model_version_info", "model") == {("model",): 1.0}


def test_a_restart_without_mlflow_shows_what_was_shown(world: World) -> None:
    world.mlflow.active = {"1": BEGAN + 10, "2": BEGAN + 5}
    world.mlflow.hints = {"1": {"greater_is_better.accuracy": "false"}}
    world.mlflow.put(RUNS[0], "accuracy", 0.5, experiment="1")
    world.mlflow.put(RUNS[1], "accuracy", 0.75, experiment="1")
    world.mlflow.put(RUNS[2], "accuracy", math.nan, experiment="2")
    world.mlflow.versions = (
        ModelVersion("m", 1, RUNS[2], "Staging", ("champion", "blue")),
        ModelVersion("m", 2, RUNS[0], "", ()),
    )
    before = world.poll(world.poller(max_experiments=1))
    polled_at = world.now
    assert of_family(before, "mlflow_experiment_metric_best", "metric") == {("accuracy",): 0.5}
    world.now += 60
    world.mlflow.broken = "experiments"
    poller = world.poller(max_experiments=1)
    known = poller.show_known()
    assert known is not None
    assert abs(known.at - polled_at) < 60, "its age is that of the last poll"
    assert repr(world.shown[-1].groups) == repr(before.groups)  # NaN is not equal to itself
    with pytest.raises(SourceUnavailableError):
        world.poll(poller)


def test_a_restart_without_mlflow_shows_nothing_that_is_not_selected_any_more(world: World) -> None:
    world.mlflow.put(RUNS[0], "secret", 0.5, experiment="1")
    world.mlflow.put(RUNS[1], "loss", 0.5, experiment="2")
    world.poll(world.poller())
    assert world.poller(experiments={"exclude": ["one"]}).show_known() is None
    assert world.poller(metrics={"exclude": ["secret"]}).show_known() is None
    assert world.poller(history=False).show_known() is not None, "how much is read changes nothing of what is shown"


def test_a_first_start_without_mlflow_shows_nothing(world: World) -> None:
    world.mlflow.broken = "experiments"
    poller = world.poller()
    assert poller.show_known() is None
    assert not world.shown


def test_what_a_poll_recorded_before_it_failed_is_shown_by_the_next(world: World) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    poller = world.poller()
    world.poll(poller)
    world.mlflow.put(RUNS[0], "loss", 0.25)
    world.mlflow.broken = "changes"
    with pytest.raises(SourceUnavailableError):
        world.poll(poller)
    world.mlflow.broken = ""
    assert [value for _, value in metrics(world.poll(poller))] == [0.25]


def test_nothing_is_built_when_nothing_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    poller = world.poller()
    before = world.poll(poller)
    monkeypatch.setattr(Gauges, "build", _full)
    assert world.poll(poller) is before


def test_a_run_that_falls_silent_is_stalled_without_any_news_from_mlflow(world: World) -> None:
    run_id = RUNS[0]
    poller = world.poller()
    for _ in range(4):
        world.now += 60
        world.mlflow.put(run_id, "loss", 0.5, at_ms=at_ms(world), experiment="1")
        snapshot = world.poll(poller)
    assert of_family(snapshot, "mlflow_run_stalled", "run_id") == {(run_id[:8],): 0.0}
    world.now += 9 * 60
    assert world.poll(poller) is snapshot
    world.now += 2 * 60
    stalled = world.poll(poller)
    assert of_family(stalled, "mlflow_run_stalled", "run_id") == {(run_id[:8],): 1.0}, "ten of its usual gaps"
    restarted = world.poll(world.poller())
    assert of_family(restarted, "mlflow_run_stalled", "run_id") == {(run_id[:8],): 1.0}, "and this is remembered"
    world.now += 25 * HOUR
    assert of_family(world.poll(poller), "mlflow_run_orphaned", "run_id") == {(run_id[:8],): 1.0}
    world.mlflow.put(run_id, "loss", 0.5, at_ms=at_ms(world))
    assert of_family(world.poll(poller), "mlflow_run_stalled", "run_id") == {(run_id[:8],): 0.0}


def test_a_stalled_child_of_a_parent_that_ended_is_orphaned(world: World) -> None:
    child, parent = RUNS[:2]
    world.mlflow.tags[child] = {"mlflow.parentRunId": parent}
    world.mlflow.put(child, "loss", 0.5, at_ms=at_ms(world, hours=2), experiment="1")
    world.mlflow.put(parent, "loss", 0.5, at_ms=at_ms(world), experiment="1")
    poller = world.poller()
    found = of_family(world.poll(poller), "mlflow_run_orphaned", "run_id")
    assert found == {(child[:8],): 0.0, (parent[:8],): 0.0}
    world.mlflow.statuses[parent] = RunStatus.FAILED
    world.mlflow.edited.add(parent)
    assert of_family(world.poll(poller), "mlflow_run_orphaned", "run_id") == {(child[:8],): 1.0}


def test_labels_come_from_tags_and_parameters_and_appear_once_they_are_configured(world: World) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    world.mlflow.statuses[RUNS[0]] = RunStatus.FINISHED
    world.mlflow.tags[RUNS[0]] = {"team": "vision"}
    world.mlflow.params[RUNS[0]] = {"learning rate": "0.1"}
    ((labels, _),) = metrics(world.poll(world.poller()))
    assert "team" not in labels
    add = {"team": "tag.team", "lr": "param.learning rate", "absent": "tag.absent"}
    world.gauges = GaugesConfig.model_validate({"labels": {"add": add}})
    ((labels, _),) = metrics(world.poll(world.poller()))
    assert (labels["team"], labels["lr"], labels["absent"]) == ("vision", "0.1", "")


def test_what_could_not_be_read_back_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    poller = world.poller()
    world.poll(poller)
    world.mlflow.put(RUNS[0], "loss", 0.25, experiment="1")
    with monkeypatch.context() as patch:
        patch.setattr(LatestValues, "named", _full)
        with pytest.raises(StateFullError):
            world.poll(poller)
    assert [value for _, value in metrics(world.poll(poller))] == [0.25]


def _full(*_: object) -> Iterator[None]:
    raise StateFullError("disk full")


def test_a_report_says_whether_anything_new_is_shown(world: World) -> None:
    world.mlflow.put(RUNS[0], "loss", 0.5, experiment="1")
    poller = world.poller()

    def run() -> PollReport:
        return poller.run(complete=False)

    first = run()
    assert (first.renewed, first.shown) == (True, len(list(all_series(world.shown[-1]))))
    assert not run().renewed
    world.mlflow.put(RUNS[0], "loss", 0.25)
    assert run().renewed


LAST, START, DURATION, STALLED, ORPHANED = (
    f"mlflow_run_{name}"
    for name in ("last_metric_timestamp_seconds", "start_timestamp_seconds", "duration_seconds", "stalled", "orphaned")
)
LAST_START = "mlflow_experiment_last_run_start_timestamp_seconds"
#: What a client may have written instead of milliseconds.
AHEAD = pytest.mark.parametrize("wrong", [lambda ms: ms + 2 * HOUR * 1000, lambda ms: ms * 1000, lambda ms: ms * 10**6])


def value_of(snapshot: Snapshot, name: str) -> float | None:
    """Of the only run; None where it has none."""
    found = list(of_family(snapshot, name).values())
    return found[0] if found else None


@AHEAD
def test_a_metric_that_is_ahead_of_the_clock_counts_from_when_it_was_read(
    world: World, wrong: Callable[[int], int]
) -> None:
    world.mlflow.began[RUNS[0]] = at_ms(world, hours=1)
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=wrong(at_ms(world)), experiment="1")
    poller = world.poller()
    first = world.poll(poller)
    assert (value_of(first, LAST), value_of(first, DURATION), value_of(first, STALLED)) == (NOW, HOUR, 0.0)
    world.now += 60
    assert world.poll(poller) is first, "nothing moves by itself"
    assert world.poll(world.poller()).groups == first.groups, "a restart is no news"
    world.now += 2 * HOUR
    silent = world.poll(poller)
    assert (value_of(silent, LAST), value_of(silent, STALLED), value_of(silent, ORPHANED)) == (NOW, 1.0, 0.0)
    world.now += 24 * HOUR
    assert value_of(world.poll(poller), ORPHANED) == 1.0
    world.mlflow.put(RUNS[0], "loss", 0.25, at_ms=wrong(at_ms(world)))
    again = world.poll(poller)
    assert (value_of(again, LAST), value_of(again, STALLED)) == (world.now, 0.0), "it logs again"
    world.now += 60
    world.mlflow.put(RUNS[0], "accuracy", 0.25, at_ms=at_ms(world))
    assert value_of(world.poll(poller), LAST) == world.now, "one good time counts"


@AHEAD
def test_a_run_that_starts_and_ends_ahead_of_the_clock_does_so_when_it_was_read(
    world: World, wrong: Callable[[int], int]
) -> None:
    world.mlflow.began[RUNS[0]] = wrong(at_ms(world))
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=at_ms(world), experiment="1")
    poller = world.poller()
    first = world.poll(poller)
    assert (value_of(first, START), value_of(first, LAST_START)) == (NOW, NOW)
    world.now += 3 * HOUR
    stalled = world.poll(poller)
    assert (value_of(stalled, START), value_of(stalled, STALLED)) == (NOW, 1.0)
    world.mlflow.statuses[RUNS[0]] = RunStatus.FINISHED
    world.mlflow.ended[RUNS[0]] = wrong(at_ms(world))
    world.mlflow.edited.add(RUNS[0])
    ended = world.poll(poller)
    assert (value_of(ended, START), value_of(ended, DURATION)) == (NOW, 3 * HOUR)
    world.now += 9 * HOUR
    assert world.poll(poller) is ended
    assert world.poll(world.poller()).groups == ended.groups


@pytest.mark.parametrize("unknown", [0, -1, -(2**63), round(NOW)])
def test_a_time_from_before_anything_was_tracked_is_unknown(world: World, unknown: int) -> None:
    world.mlflow.began[RUNS[0]] = unknown
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=unknown, experiment="1")
    poller = world.poller()
    first = world.poll(poller)
    for name in (START, LAST_START, LAST, DURATION):
        assert value_of(first, name) is None
    assert (value_of(first, STALLED), value_of(first, ORPHANED)) == (0.0, 0.0), "nothing says that it is silent"
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=at_ms(world))
    assert value_of(world.poll(poller), LAST) == NOW
    world.now += 2 * HOUR
    assert value_of(world.poll(poller), STALLED) == 1.0
    world.mlflow.statuses[RUNS[0]] = RunStatus.FINISHED
    world.mlflow.ended[RUNS[0]] = unknown
    world.mlflow.edited.add(RUNS[0])
    assert value_of(world.poll(poller), DURATION) is None


def test_an_end_in_seconds_is_none_and_the_last_metric_counts(world: World) -> None:
    world.mlflow.began[RUNS[0]] = at_ms(world, hours=2)
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=at_ms(world, hours=1), experiment="1")
    world.mlflow.statuses[RUNS[0]] = RunStatus.FINISHED
    world.mlflow.ended[RUNS[0]] = round(NOW)
    assert value_of(world.poll(world.poller()), DURATION) == HOUR


@AHEAD
def test_the_latest_run_is_not_for_ever_one_whose_start_was_ahead(world: World, wrong: Callable[[int], int]) -> None:
    world.mlflow.began[RUNS[0]] = wrong(at_ms(world))
    world.mlflow.put(RUNS[0], "loss", 0.5, at_ms=at_ms(world), experiment="1")
    poller = world.poller()
    world.poll(poller)
    world.now += 60
    world.mlflow.began[RUNS[1]] = at_ms(world)
    world.mlflow.put(RUNS[1], "loss", 0.25, at_ms=at_ms(world), experiment="1")
    found = world.poll(poller)
    assert value_of(found, "mlflow_experiment_metric_latest") == 0.25
    assert value_of(found, LAST_START) == world.now


@AHEAD
def test_an_experiment_whose_times_are_ahead_is_the_newest_only_once(world: World, wrong: Callable[[int], int]) -> None:
    world.mlflow.names["3"] = "three"
    world.mlflow.active = {i: at_ms(world, hours=9) for i in "123"}
    poller = world.poller(max_experiments=1, sweep={"every": "1ms"})
    world.poll(poller)

    def watched() -> set[str]:
        snapshot = world.poll(poller)
        return {name for (name,) in of_family(snapshot, "mlflow_experiment_runs", "experiment_name")}

    world.mlflow.began[RUNS[1]] = world.mlflow.active["2"] = wrong(at_ms(world))
    world.mlflow.put(RUNS[1], "loss", 0.5, at_ms=at_ms(world), experiment="2")
    assert watched() == {"two"}
    world.now += 60
    world.mlflow.began[RUNS[2]] = world.mlflow.active["3"] = at_ms(world)
    world.mlflow.put(RUNS[2], "loss", 0.5, at_ms=at_ms(world), experiment="3")
    assert watched() == {"three"}
    world.now += 60
    assert watched() == {"three"}, "whatever the times of the other say"
    poller = world.poller(max_experiments=1, sweep={"every": "1ms"})
    assert watched() == {"three"}, "nor after a restart"
    world.now += 60
    world.mlflow.began[RUNS[3]] = world.mlflow.active["2"] = wrong(at_ms(world))
    world.mlflow.put(RUNS[3], "loss", 0.5, at_ms=at_ms(world), experiment="2")
    assert watched() == {"two"}, "a new run counts"
