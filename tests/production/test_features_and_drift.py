"""Statistics of features, and what drift is: beside numpy and scipy on the raw values, within the sketches' error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlflow_monitoring_tracking.features import statistics as module
from mlflow_monitoring_tracking.features.baseline import features_of, read_baseline, write_baseline
from mlflow_monitoring_tracking.features.observations import Chosen, Observations
from mlflow_monitoring_tracking.features.statistics import FeatureStatistics, merged
from mlflow_monitoring_tracking.production.drift import LEAST, cramers_v, drift, jensen_shannon, psi
from mlflow_monitoring_tracking.production.drift_watch import DriftWatch
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.tracker import ProductionTracker
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.records import Artifact
from mlflow_monitoring_tracking.tracker import ExperimentTracker
from tests.tracking.spools import records

SERVED = Served("d", "m", "1")
VALUES = st.one_of(st.none(), st.floats(), st.integers(-100, 100), st.text(max_size=3), st.booleans())


def of(values: Any, *, plain: bool = True) -> FeatureStatistics:
    made = FeatureStatistics()
    made.update(list(values), plain=plain)
    return made


@settings(deadline=None)
@given(st.lists(st.lists(VALUES, max_size=30), min_size=1, max_size=4))
def test_added_together_they_are_those_of_all_values(parts: list[list[Any]]) -> None:
    whole = of(value for part in parts for value in part)
    together = merged([{"x": FeatureStatistics.of(json.loads(json.dumps(of(part).to_json())))} for part in parts])["x"]
    assert (together.count, together.missing, together.numbers) == (whole.count, whole.missing, whole.numbers)
    assert together.count == sum(map(len, parts))
    assert (together.low, together.high) == (whole.low, whole.high)
    assert together.total == pytest.approx(whole.total)
    assert together.shares() == pytest.approx(whole.shares())
    assert together.distinct_values() == pytest.approx(whole.distinct_values())
    assert together.kind == whole.kind


def test_quantiles_and_distinct_values_are_within_their_error() -> None:
    values = np.random.default_rng(1).lognormal(3, 1, 20_000)
    seen = merged({"x": of(map(float, part))} for part in np.array_split(values, 8))["x"]
    for share in (0.05, 0.5, 0.95):
        found = seen.quantile(share)
        assert found is not None
        assert abs((values <= found).mean() - share) < 0.0133 * 1.5
    assert seen.mean == pytest.approx(values.mean())
    assert of(f"{number % 900}" for number in range(5000)).distinct_values() == pytest.approx(900, rel=0.06)


def test_without_sketches_there_are_count_mean_extremes_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sketches", lambda: None)
    seen = merged([{"x": of([1.0, None, 3.0])}, {"x": of(["a", math.nan])}])["x"]
    assert (seen.mean, seen.low, seen.high, seen.missing_ratio, seen.count) == (2.0, 1.0, 3.0, 2 / 5, 5)
    assert (seen.quantile(0.5), seen.distinct_values(), seen.shares()) == (None, None, {})
    assert drift(seen, seen) == {}
    assert FeatureStatistics.of(seen.to_json()).to_json() == seen.to_json()


def test_text_leaves_the_process_only_if_that_was_asked_for() -> None:
    said = json.dumps(of(["Ada Lovelace"] * 5, plain=False).to_json())
    assert "Ada" not in said
    assert list(of(["Ada"], plain=False).shares()) != ["Ada"]
    assert list(of(["Ada"], plain=True).shares()) == ["Ada"]


ROWS: dict[str, list[Any]] = {
    "dicts": [{"a": 1.0, "b": "x"}, {"a": 2.0}, {"b": "y", "a": None}],
    "lists": [[1.0, "x"], [2.0], [None, "y"]],
    "tuples": [(1.0, "x"), (2.0,), (None, "y")],
    "series": [pd.Series({"a": 1.0, "b": "x"}), pd.Series({"a": 2.0}), pd.Series({"b": "y", "a": None})],
    "frame": [pd.DataFrame({"a": [1.0, 2.0, None], "b": ["x", None, "y"]})],
    "array": [np.array([1.0, 7.0]), np.array([2.0, math.nan]), np.array([math.nan, 8.0])],
    "table": [np.array([[1.0, 7.0], [2.0, math.nan], [math.nan, 8.0]])],
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_every_kind_become_columns(kind: str) -> None:
    observations = Observations(Chosen())
    for row in ROWS[kind]:
        observations.add(row, "yes")
        if isinstance(row, (dict, list)):
            row.clear()  # the caller's own; a copy was looked at
    seen = observations.take()
    one, other = sorted(seen.keys() - {"prediction"})
    assert (seen[one].count, seen[one].missing, seen[one].mean) == (3, 1, 1.5)
    assert (seen[other].count, seen[other].missing) == (3, 1)
    assert seen["prediction"].shares().values() == pytest.approx([1.0])
    assert observations.take() == {}


def test_only_the_chosen_features_and_not_too_many_are_looked_at() -> None:
    chosen = Observations(Chosen(frozenset({"b"})))
    chosen.add({"a": 1.0, "b": 2.0}, None)
    assert set(chosen.take()) == {"b"}
    few = Observations(Chosen(most=3))
    few.add({f"f{place}": 1.0 for place in range(100)}, 1.5)
    assert set(few.take()) == {"f0", "f1", "f2", "prediction"}


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_drift_of_numbers_is_what_scipy_finds_in_the_raw_values(shape: str, shift: float) -> None:
    random = np.random.default_rng(3)
    before = getattr(random, shape)(size=20_000)
    now = getattr(random, shape)(size=4_000) + shift
    found = drift(of(map(float, before)), of(map(float, now)))
    inner = np.quantile(before, np.arange(1, 10) / 10)
    expected, shares = (np.histogram(one, [-np.inf, *inner, np.inf])[0] / len(one) for one in (before, now))
    assert found["ks"] == pytest.approx(stats.ks_2samp(before, now).statistic, abs=0.03)
    assert found["js"] == pytest.approx(jensenshannon(expected, shares, 2) ** 2, abs=0.01, rel=0.1)
    exact = sum(
        (other - one) * math.log(other / one) for one, other in zip(expected, np.maximum(shares, 1e-4), strict=True)
    )
    # Where hardly a value is left in a bin, a sketch's error of a thousandth moves its logarithm.
    assert found["psi"] == pytest.approx(exact, abs=0.02, rel=0.1 if shift < 1 else 0.2)


def test_drift_of_categories_is_what_scipy_finds_in_the_raw_values() -> None:
    random = np.random.default_rng(4)
    before = random.choice(list("abcd"), 20_000, p=[0.4, 0.3, 0.2, 0.1])
    now = random.choice(list("abcd"), 3_000, p=[0.1, 0.5, 0.2, 0.2])
    found = drift(of(map(str, before), plain=False), of(map(str, now), plain=False))
    table = np.array([[(one == label).sum() for label in "abcd"] for one in (before, now)])
    assert found["chi2"] == pytest.approx(stats.contingency.association(table))
    expected, shares = (row / row.sum() for row in table)
    assert found["js"] == pytest.approx(jensenshannon(expected, shares, 2) ** 2)
    assert found["psi"] == pytest.approx(
        sum((other - one) * math.log(other / one) for one, other in zip(expected, shares, strict=True))
    )


SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda shares: sum(shares) > 0.1)


@given(SHARES)
def test_nothing_has_drifted_from_itself(shares: list[float]) -> None:
    of_one = [share / sum(shares) for share in shares]
    assert psi(of_one, of_one) == 0
    assert jensen_shannon(of_one, of_one) == pytest.approx(0, abs=1e-9)
    assert cramers_v(of_one, of_one, 1000, 50) == pytest.approx(0, abs=1e-6)


def test_a_small_window_says_nothing_and_neither_does_another_kind() -> None:
    many, few = of([float(n) for n in range(LEAST)]), of([float(n) for n in range(LEAST - 1)])
    assert (
        drift(many, few) == drift(few, many) == drift(many, of(["a"] * LEAST)) == drift(many, of([None] * LEAST)) == {}
    )
    assert drift(many, many)


#: What the shipped rule takes for drift.
ALARM = 0.25


def windows(random: np.random.Generator, shifts: dict[int, float], size: int = 600) -> dict[str, FeatureStatistics]:
    """Of ten features, half of them numbers, some of which are shifted."""
    seen = {}
    for place in range(10):
        shift = shifts.get(place, 0.0)
        if place % 2:
            shares = np.array([0.5 - shift / 4, 0.3, 0.2 + shift / 4])
            seen[f"f{place}"] = of(map(str, random.choice(list("abc"), size, p=shares)), plain=False)
        else:
            seen[f"f{place}"] = of(map(float, random.normal(shift, 1, size)))
    return seen


def test_a_drift_in_three_of_ten_features_is_found_within_three_windows_and_nothing_else_is(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    watch = DriftWatch(tmp_path / "baseline.json", SERVED)
    for _ in range(9):  # the first 5,000 predictions are the baseline
        assert watch.window(windows(random, {})) == {}
    scores = [
        {name: found["drift"]["psi"] for name, found in watch.window(windows(random, {})).items()} for _ in range(300)
    ]
    assert all(len(window) == 10 for window in scores)
    assert max(value for window in scores for value in window.values()) < ALARM, "five quarters of an hour without"
    drifted = [
        {
            name
            for name, found in watch.window(windows(random, {0: 1.0, 3: 1.2, 8: 1.0})).items()
            if found["drift"]["psi"] > ALARM
        }
        for _ in range(3)
    ]
    assert drifted[-1] == {"f0", "f3", "f8"}
    # Another leader has the same baseline.
    again = DriftWatch(tmp_path / "baseline.json", SERVED)
    assert again.window(windows(random, {0: 1.0}))["f0"]["drift"]["psi"] > ALARM


def test_little_traffic_is_put_together_until_it_says_something(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    write_baseline(tmp_path / "b.json", windows(random, {}, 5000))
    watch = DriftWatch(tmp_path / "b.json", SERVED)
    found = [watch.window(windows(random, {2: 2.0}, 100)) for _ in range(7)]
    assert [bool(one) for one in found] == [False] * 4 + [True] * 3
    assert found[4]["f2"]["drift_samples"] == 500
    assert found[4]["f2"]["drift"]["psi"] > ALARM > found[4]["f0"]["drift"]["psi"]


def test_columns_that_are_new_missing_or_of_another_kind_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_baseline(tmp_path / "b.json", {"a": of([1.0]), "b": of(["x"]), "c": of([1.0])})
    watch = DriftWatch(tmp_path / "b.json", SERVED)
    now = {"a": of(["text"]), "b": of(["x"]), "d": of([1.0])}
    watch.window(now)
    watch.window(now)
    told = [record.message for record in caplog.records]
    assert len(told) == watch.changes == 3
    for said in ("a is a category and was a number", "c is missing", "d is new"):
        assert sum(said in line for line in told) == 1


def test_the_baseline_of_a_training_is_what_production_is_compared_with(tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    table = pd.DataFrame({"x": chance.normal(size=3000), "plan": chance.choice(["a", "b"], 3000)})
    tracker = ExperimentTracker({"tracking_dir": str(tmp_path), "mode": "offline"})
    with tracker.start_run("churn", run_key="training") as run:
        run.log_baseline(table, predictions=chance.choice([True, False], 3000))
        run.log_baseline(object())  # is told, and disturbs nothing
    [artifact] = [record for record in records(tmp_path / "spool") if isinstance(record, Artifact)]
    assert artifact.path == "baseline/features.json"
    baseline = tmp_path / "given.json"
    baseline.write_bytes((run_directory(tmp_path / "spool", "training").files / artifact.file).read_bytes())
    production = ProductionTracker(tracker, window=3600)
    production.start_production_monitoring("m", "d", baseline=baseline)
    watch = DriftWatch(production.place.baseline("d"), SERVED)
    now = features_of([{"x": float(value) + 1, "plan": "a"} for value in chance.normal(size=800)], [True] * 800)
    found = watch.window(now)
    assert set(found) == {"x", "plan", "prediction"}
    assert min(one["drift"]["psi"] for one in found.values()) > ALARM
    assert features_of(np.zeros((3, 2)))["f1"].mean == 0
    with pytest.raises(TypeError, match="input_data is a int"):
        features_of([3])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": 3}', '{"features": {"a": {}}}'])
def test_a_file_that_is_no_baseline_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(ValueError, match=r"b\.json|Expecting"):
        read_baseline(tmp_path / "b.json")
