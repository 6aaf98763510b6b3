"""Columns against a plain dictionary of runs, whatever happens to them."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlflow_monitoring_exporter.model import RunGauges, RunStatus
from mlflow_monitoring_exporter.transform.aggregates import Aggregates
from mlflow_monitoring_exporter.transform.columns import Columns, spread_of
from mlflow_monitoring_exporter.transform.direction import Direction, Directions

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


runs = st.builds(
    run,
    st.sampled_from([letter * 32 for letter in "abcdef"]),
    st.dictionaries(st.sampled_from(KEYS), st.floats()),
    status=st.sampled_from(RunStatus),
    start_ms=st.none() | st.integers(0, 3),
    end_ms=st.none() | st.integers(0, 3),
)


class AnythingHappensToRuns(RuleBasedStateMachine):
    """Runs come, change, lose keys and go; the columns always say what the runs that are there say."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = Columns()
        self.directions = Directions({})
        self.aggregates = Aggregates(self.columns, self.directions)
        self.runs: dict[str, RunGauges] = {}

    @rule(one=runs)
    def put(self, one: RunGauges) -> None:
        self.columns.put(one)
        self.runs[one.run_id] = one

    @rule(run_id=st.sampled_from([letter * 32 for letter in "abcdef"]))
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
        found = dict(self.aggregates)
        assert found.keys() == {key for one in self.runs.values() for key in one.values}
        for key, aggregate in found.items():
            having = [one for one in self.runs.values() if key in one.values]
            newest = max(having, key=lambda one: (one.start_ms or 0, one.run_id))
            assert repr(aggregate.latest) == repr(newest.values[key])
            values = [one.values[key] for one in having if math.isfinite(one.values[key])]
            spread = spread_of(values) if values else None
            assert (aggregate.mean, aggregate.min, aggregate.max, aggregate.stddev) == (
                (spread.mean, spread.min, spread.max, spread.stddev) if spread else (None, None, None, None)
            )
            best = {"accuracy": max, "loss": min}.get(key)
            assert aggregate.best == (best(values) if best and values else None)
            finished = sorted(
                (one for one in having if one.status is RunStatus.FINISHED),
                key=lambda one: (one.end_ms or one.start_ms or 0, one.run_id),
            )
            assert repr(aggregate.finished) == repr(finished[-1].values[key] if finished else None)
            if len(finished) < 2:
                assert aggregate.delta is None
            else:
                before, last = (one.values[key] for one in finished[-2:])
                assert repr(aggregate.delta) == repr(before - last if key == "loss" else last - before)


TestAnythingHappensToRuns = AnythingHappensToRuns.TestCase


def test_the_place_of_a_run_that_is_gone_is_taken_by_another() -> None:
    columns = Columns()
    for n in range(1000):
        columns.put(run(f"{n}", {"loss": 1.0}))
        columns.drop(f"{n}")
    assert len(columns._run_ids) == 1, "or memory would grow with every run that ever was"


def test_only_keys_that_changed_are_computed_again() -> None:
    columns = Columns()
    aggregates = Aggregates(columns, Directions({}))
    columns.put(run("a", {"loss": 1.0, "accuracy": 0.5}))
    before = dict(aggregates)
    columns.put(run("b", {"loss": 2.0}))
    after = dict(aggregates)
    assert after["accuracy"] is before["accuracy"]
    assert after["loss"].mean == 1.5
