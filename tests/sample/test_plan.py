"""What a scenario promises, for any number of runs and any seed."""

from __future__ import annotations

import math
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.values import RunStatus
from mlflow_monitoring_exporter.sample.curves import diverged, falling, rising, wobbling
from mlflow_monitoring_exporter.sample.recipes import RECIPES
from mlflow_monitoring_exporter.sample.scenario import PlannedRun, Scenario, plan
from tests.parts.scaled import scaled

NOW = 1_795_000_000_000
WEEK = 7 * 86_400_000
#: MLflow's rule for the keys of metrics, params and tags (mlflow/utils/validation.py).
LEGAL = re.compile(r"[/\w.\- :]{1,250}")

any_runs = st.integers(1, 60)
any_seed = st.integers(0, 2**63)


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=any_runs, seed=any_seed)
def test_there_are_exactly_as_many_runs_as_asked_for_and_the_seed_decides_the_rest(runs: int, seed: int) -> None:
    scenario = plan(runs, seed, NOW)
    assert len(scenario.runs) == runs
    assert len({run.name for run in scenario.runs}) == runs
    assert repr(plan(runs, seed, NOW)) == repr(scenario)  # repr, because NaN is not equal to itself
    assert repr(plan(runs, seed + 1, NOW)) != repr(scenario)


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=any_runs, seed=any_seed)
def test_every_time_lies_in_the_last_days_and_inside_its_run(runs: int, seed: int) -> None:
    for run in plan(runs, seed, NOW).runs:
        assert run.start_ms > NOW - WEEK
        assert (run.end_ms is None) == (run.status is RunStatus.RUNNING)
        end = NOW if run.end_ms is None else run.end_ms
        assert run.start_ms < end <= NOW
        assert all(run.start_ms < point.timestamp_ms <= end for point in run.points)


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=any_runs, seed=any_seed)
def test_mlflow_takes_every_key_and_holds_every_point(runs: int, seed: int) -> None:
    for run in plan(runs, seed, NOW).runs:
        for key in (*run.params, *run.tags, *(point.key for point in run.points)):
            assert LEGAL.fullmatch(key)
            assert ".." not in key
        assert len({(p.key, p.step, p.timestamp_ms) for p in run.points}) == len(run.points)
        assert {"project", "stage", "data_version", "owner"} <= set(run.tags)


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=st.integers(8, 60), seed=any_seed)
def test_from_eight_runs_on_there_is_something_of_everything(runs: int, seed: int) -> None:
    scenario = plan(runs, seed, NOW)
    assert scenario.experiments == tuple(recipe.experiment for recipe in RECIPES)
    statuses = Counter(run.status for run in scenario.runs)
    assert {RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED, RunStatus.RUNNING} == set(statuses)
    assert any(run.status is RunStatus.FAILED and diverges(scenario, run.name) for run in scenario.runs)
    assert len({run.experiment for run in scenario.runs for p in run.points if p.key == "accuracy"}) >= 3
    assert any(p.key.startswith("system/") for run in scenario.runs for p in run.points)
    assert {run.tags["stage"] for run in scenario.runs} >= {"production"}
    assert any(run.parent for run in scenario.runs)


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=any_runs, seed=any_seed)
def test_a_child_lies_inside_a_parent_that_comes_before_it(runs: int, seed: int) -> None:
    seen: dict[str, PlannedRun] = {}
    for run in plan(runs, seed, NOW).runs:
        if run.parent is not None:
            parent = seen[run.parent]
            assert parent.experiment == run.experiment
            assert parent.start_ms < run.start_ms
            assert run.end_ms is not None
            assert parent.end_ms is not None
            assert run.end_ms < parent.end_ms
        seen[run.name] = run


@settings(deadline=None, max_examples=scaled(20, 100))
@given(runs=any_runs, seed=any_seed)
def test_the_champion_is_the_most_accurate_finished_churn_run_and_in_production(runs: int, seed: int) -> None:
    scenario = plan(runs, seed, NOW)
    (champion,) = [version.run for version in scenario.versions if version.alias == "champion"]
    finished = {
        run.name: [p.value for p in run.points if p.key == "accuracy"][-1]
        for run in scenario.runs
        if run.experiment == "churn-classifier" and run.status is RunStatus.FINISHED
    }
    assert finished[champion] == max(finished.values())
    assert [run.tags["stage"] for run in scenario.runs if run.name == champion] == ["production"]


def test_a_scenario_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run, not 0"):
        plan(0, 1, NOW)


def test_curves_have_the_length_and_the_direction_that_they_promise() -> None:
    rng = Random(1)
    loss = falling(rng, 60, start=3.0, floor=0.2, noise=0.03)
    score = rising(rng, 60, start=0.5, ceiling=0.99, noise=0.05)
    load = wobbling(rng, 60, level=95, swing=20)
    assert len(loss) == len(score) == len(load) == 60
    assert sum(loss[-10:]) < sum(loss[:10]) / 3
    assert sum(score[-10:]) > sum(score[:10])
    assert min(loss) > 0
    assert 0 <= min(score) <= max(score) <= 1
    assert 0 <= min(load) <= max(load) <= 100


@given(length=st.integers(3, 60), data=st.data())
def test_a_diverged_curve_explodes_and_then_is_not_a_number_to_its_end(length: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, length - 3))
    values = diverged([1.0] * length, at)
    assert len(values) == length
    assert values[:at] == [1.0] * at
    assert values[at] > 10
    assert values[at + 1] > values[at]
    assert all(map(math.isnan, values[at + 2 :]))


def diverges(scenario: Scenario, name: str) -> bool:
    (run,) = [run for run in scenario.runs if run.name == name]
    return any(math.isnan(point.value) for point in run.points)
