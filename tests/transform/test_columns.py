"""Columns against a plain dictionary of runs, whatever happens to them."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions
from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.transform.aggregates import Aggregate, Aggregates
from mlflow_monitoring_exporter.transform.experiment_table import ExperimentTable, spread_of

finite = st.floats(allow_nan=False, allow_infinity=False)
KEYS = ("accuracy", "loss", "epoch")


def run(run_id: str, values: dict[str, float], **facts: object) -> RunGauges:
    given_facts = {"status": RunStatus.FINISHED, "start_ms": 1, "end_ms": 2, **facts}
    return RunGauges("1", run_id, f"run {run_id}", model_stage="", values=values, **given_facts)  # type: ignore[arg-type]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_the_spread_is_that_of_the_standard_library(values: list[float]) -> None:
    spread = spread_of(values)
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.stddev == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-9)
    assert (spread.min, spread.max) == (min(values), max(values))


@given(st.lists(finite, min_size=1), st.randoms(use_true_random=False))
def test_the_spread_of_any_finite_values_is_finite_and_knows_no_order(values: list[float], random: object) -> None:
    spread = spread_of(values)
    assert spread.min <= spread.mean <= spread.max
    assert math.isfinite(spread.stddev)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert spread_of(shuffled) == spread


def test_the_spread_of_the_largest_doubles_does_not_overflow() -> None:
    spread = spread_of([1.5e308, -1.5e308, 1.5e308, -1.5e308])
    assert spread.mean == 0.0
    assert spread.stddev == pytest.approx(1.5e308)


@given(st.lists(st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3), min_size=1), st.integers(-300, 300))
def test_the_spread_has_the_scale_of_the_values(values: list[float], exponent: int) -> None:
    unit = 10.0**exponent
    spread = spread_of([value * unit for value in values])
    assert spread.stddev / unit == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-9)
    assert spread.mean / unit == pytest.approx(statistics.fmean(values), rel=1e-6, abs=1e-9)


IDS = [letter * 32 for letter in "abcdef"]

runs = st.builds(
    run,
    st.sampled_from(IDS),
    st.dictionaries(st.sampled_from(KEYS), st.floats()),
    status=st.sampled_from(RunStatus),
    start_ms=st.none() | st.integers(0, 3),
    end_ms=st.none() | st.integers(0, 3),
    parent_run_id=st.none() | st.sampled_from([*IDS, "elsewhere"]),
)


def roots_of(there: dict[str, RunGauges]) -> dict[str, list[str]]:
    """The chain of each run from itself to its root; of one whose parents go in a circle, itself alone."""
    chains = {}
    for run_id in there:
        chain = [run_id]
        while (one := there.get(chain[-1])) and one.parent_run_id not in (None, chain[-1]):
            if one.parent_run_id in chain:
                chain = [run_id]
                break
            chain.append(str(one.parent_run_id))
        chains[run_id] = chain
    return chains


def counted(there: dict[str, RunGauges], key: str, root: str, *, finished: bool) -> list[RunGauges]:
    """The runs of an event whose values of ``key`` count: none of them has one around it that has a value."""
    found = []
    for run_id, chain in roots_of(there).items():
        around = [there[i] for i in chain[1:] if i in there]
        ended = all(there[i].status is RunStatus.FINISHED for i in chain if i in there)
        if chain[-1] == root and key in there[run_id].values and (ended or not finished):
            found += [] if any(key in one.values for one in around) else [there[run_id]]
    return found


def event_value(key: str, having: list[RunGauges]) -> float | None:
    values = [one.values[key] for one in having]
    finite = [value for value in values if math.isfinite(value)]
    best = {"accuracy": max, "loss": min}.get(key)
    if len(values) == 1:
        return values[0]
    return best(finite) if best and finite else None


def finished_events(there: dict[str, RunGauges], key: str) -> list[float]:
    """The values of events that finished, the first first: slowly, and by the words of the reference."""
    ends = []
    for root in {chain[-1] for chain in roots_of(there).values()}:
        members = [there[i] for i, chain in roots_of(there).items() if chain[-1] == root and key in there[i].values]
        if root in there:
            over = there[root].status is RunStatus.FINISHED
            end = there[root].end_ms or there[root].start_ms or 0
        else:
            statuses = {one.status for one in members}
            over = RunStatus.FINISHED in statuses and all(status.terminal for status in statuses)
            end = max((one.end_ms or one.start_ms or 0 for one in members), default=0)
        value = event_value(key, counted(there, key, root, finished=True)) if members and over else None
        if value is not None:
            ends.append((end, root, value))
    return [value for *_, value in sorted(ends, key=lambda event: event[:2])]


def newest_value(there: dict[str, RunGauges], key: str) -> float:
    starts = []
    for root in {chain[-1] for chain in roots_of(there).values()}:
        members = [there[i] for i, chain in roots_of(there).items() if chain[-1] == root and key in there[i].values]
        if members:
            start = there[root].start_ms if root in there else max(one.start_ms or 0 for one in members)
            starts.append((start or 0, root))
    having = counted(there, key, max(starts)[1], finished=False)
    value = event_value(key, having)
    return max(having, key=lambda one: (one.start_ms or 0, one.run_id)).values[key] if value is None else value


class AnythingHappensToRuns(RuleBasedStateMachine):
    """Runs come, change, lose keys and go; the columns always say what the runs that are there say."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = ExperimentTable()
        self.directions = Directions({})
        self.aggregates = Aggregates(self.columns, self.directions)
        self.runs: dict[str, RunGauges] = {}

    @rule(one=runs)
    def put(self, one: RunGauges) -> None:
        self.columns.put(one)
        self.runs[one.run_id] = one

    @rule(run_id=st.sampled_from(IDS))
    def drop(self, run_id: str) -> None:
        assert self.columns.drop(run_id) == (self.runs.pop(run_id, None) is not None)

    @invariant()
    def counts_are_right(self) -> None:
        found = [one.status for one in self.runs.values()]
        assert self.columns.counts() == {status: found.count(status) for status in RunStatus}
        for run_id in ("a" * 32, "b" * 32):
            assert self.columns.status(run_id) == (self.runs[run_id].status if run_id in self.runs else None)

    @invariant()
    def the_right_runs_are_chosen(self) -> None:
        by_end = sorted(
            (one for one in self.runs.values() if one.status.terminal),
            key=lambda one: (one.end_ms or one.start_ms or 0, one.run_id),
            reverse=True,
        )
        assert self.columns.last_ended(2) == [one.run_id for one in by_end[:2]]
        assert self.columns.last_start_ms() == max((one.start_ms or 0 for one in self.runs.values()), default=0)
        assert set(self.columns.open_runs()) == {i for i, one in self.runs.items() if not one.status.terminal}
        for key in self.columns:
            ranked = sorted(
                (one for one in self.runs.values() if math.isfinite(one.values.get(key, math.nan))),
                key=lambda one: (one.values[key], one.start_ms or 0, one.run_id),
                reverse=True,
            )
            assert self.columns.best(3, key, Direction.MAX) == [one.run_id for one in ranked[:3]]
            worst = self.columns.best(1, key, Direction.MIN)
            assert [self.runs[run_id].values[key] for run_id in worst] == [one.values[key] for one in ranked[-1:]]

    @invariant()
    def aggregates_are_right(self) -> None:
        found = dict(self.aggregates.update())
        assert found.keys() == {key for one in self.runs.values() for key in one.values}
        for key, aggregate in found.items():
            having = [one for one in self.runs.values() if key in one.values]
            assert repr(aggregate.latest) == repr(newest_value(self.runs, key))
            values = [one.values[key] for one in having if math.isfinite(one.values[key])]
            spread = spread_of(values) if values else None
            assert (aggregate.mean, aggregate.min, aggregate.max, aggregate.stddev) == (
                (spread.mean, spread.min, spread.max, spread.stddev) if spread else (None, None, None, None)
            )
            best = {"accuracy": max, "loss": min}.get(key)
            assert aggregate.best == (best(values) if best and values else None)
            finished = finished_events(self.runs, key)
            assert repr(aggregate.finished) == repr(finished[-1] if finished else None)
            if len(finished) < 2:
                assert aggregate.delta is None
            else:
                before, last = finished[-2:]
                assert repr(aggregate.delta) == repr(before - last if key == "loss" else last - before)


TestAnythingHappensToRuns = AnythingHappensToRuns.TestCase


def test_the_place_of_a_run_that_is_gone_is_taken_by_another() -> None:
    columns = ExperimentTable()
    for n in range(1000):
        columns.put(run(f"{n}", {"loss": 1.0}))
        columns.drop(f"{n}")
    assert len(columns._run_ids) == 1, "or memory would grow with every run that ever was"


def test_no_place_is_kept_for_parents_whose_children_are_gone() -> None:
    columns = ExperimentTable()
    for n in range(100):
        columns.put(run("child", {"loss": 1.0}, parent_run_id=f"parent {n}"))
    columns.drop("child")
    assert len(columns._run_ids) == len(columns._free) <= 3


def search(columns: ExperimentTable, name: str, *, end_ms: int, losses: dict[str, float], **facts: object) -> None:
    """A parent and its candidates, each of which took a while."""
    columns.put(run(name, {}, end_ms=end_ms, **facts))
    for at, (child, loss) in enumerate(losses.items()):
        columns.put(run(f"{name}/{child}", {"loss": loss}, end_ms=end_ms - at - 1, parent_run_id=name))


def aggregate(columns: ExperimentTable, key: str = "loss") -> Aggregate:
    return dict(Aggregates(columns, Directions({})).update())[key]


def test_a_search_is_one_event_with_its_best_candidate() -> None:
    columns = ExperimentTable()
    columns.put(run("plain", {"loss": 1.0}, end_ms=10))
    search(columns, "search", end_ms=30, losses={"a": 0.9, "b": 0.25, "c": 5.0})
    found = aggregate(columns)
    assert (found.finished, found.delta, found.best, found.max) == (0.25, 0.75, 0.25, 5.0)


def test_each_candidate_is_an_event_if_that_is_what_one_wants() -> None:
    columns = ExperimentTable(nested=False)
    search(columns, "search", end_ms=30, losses={"a": 0.75, "b": 0.25})
    assert (aggregate(columns).finished, aggregate(columns).delta) == (0.75, -0.5)


def test_a_search_that_runs_or_failed_has_not_finished_whatever_its_candidates_did() -> None:
    columns = ExperimentTable()
    columns.put(run("plain", {"loss": 1.0}, end_ms=10))
    for status in (RunStatus.RUNNING, RunStatus.FAILED, RunStatus.KILLED):
        search(columns, "search", end_ms=30, losses={"a": 0.5}, status=status)
        assert (aggregate(columns).finished, aggregate(columns).best) == (1.0, 0.5)


def test_what_a_parent_logged_itself_goes_before_what_is_nested_in_it_at_every_depth() -> None:
    columns = ExperimentTable()
    columns.put(run("search", {}, end_ms=9))
    columns.put(run("candidate", {"loss": 0.5}, parent_run_id="search"))
    columns.put(run("fold", {"loss": 0.25}, parent_run_id="candidate"))
    assert aggregate(columns).finished == 0.5
    columns.put(run("search", {"loss": 0.75}, end_ms=9))
    assert aggregate(columns).finished == 0.75


def test_of_candidates_of_which_none_is_known_to_be_the_best_none_is_taken() -> None:
    columns = ExperimentTable()
    columns.put(run("search", {}))
    columns.put(run("one", {"epoch": 3.0}, parent_run_id="search"))
    assert aggregate(columns, "epoch").finished == 3.0, "there is nothing to choose"
    columns.put(run("two", {"epoch": 5.0}, start_ms=2, parent_run_id="search"))
    assert (aggregate(columns, "epoch").finished, aggregate(columns, "epoch").latest) == (None, 5.0)


def test_what_is_nested_in_a_run_that_is_not_here_is_one_event_that_ends_with_the_last_of_it() -> None:
    columns = ExperimentTable()
    columns.put(run("plain", {"loss": 1.0}, end_ms=10))
    columns.put(run("a", {"loss": 0.5}, end_ms=20, parent_run_id="elsewhere"))
    columns.put(run("b", {"loss": 0.25}, end_ms=30, parent_run_id="elsewhere", status=RunStatus.RUNNING))
    assert aggregate(columns).finished == 1.0
    columns.put(run("b", {"loss": 0.25}, end_ms=30, parent_run_id="elsewhere"))
    assert (aggregate(columns).finished, aggregate(columns).delta) == (0.25, 0.75)


def test_a_parent_that_finishes_changes_the_keys_of_what_is_nested_in_it_and_no_other() -> None:
    columns = ExperimentTable()
    aggregates = Aggregates(columns, Directions({}))
    columns.put(run("plain", {"accuracy": 0.5}))
    search(columns, "search", end_ms=30, losses={"a": 0.5}, status=RunStatus.RUNNING)
    before = dict(aggregates.update())
    columns.put(run("search", {}, end_ms=30))
    after = dict(aggregates.update())
    assert after["accuracy"] is before["accuracy"]
    assert (before["loss"].finished, after["loss"].finished) == (None, 0.5)


def test_only_keys_that_changed_are_computed_again() -> None:
    columns = ExperimentTable()
    aggregates = Aggregates(columns, Directions({}))
    columns.put(run("a", {"loss": 1.0, "accuracy": 0.5}))
    before = dict(aggregates.update())
    columns.put(run("b", {"loss": 2.0}))
    after = dict(aggregates.update())
    assert after["accuracy"] is before["accuracy"]
    assert after["loss"].mean == 1.5
