"""The statistics are those of SciPy and NumPy, and the intervals hold what they promise."""

from __future__ import annotations

import math
import random
from statistics import fmean

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.estimates import (
    block_of,
    difference_interval,
    mean_interval,
    quantile,
    trend,
)

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.lists(numbers, min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


def test_of_nothing_there_is_no_quantile() -> None:
    assert math.isnan(quantile([], 0.5))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), min_size=3, max_size=40))
def test_slope_and_its_p_value_are_scipys(pairs: list[tuple[int, int]]) -> None:
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    found = trend(xs, ys)
    if len(set(xs)) == 1:
        assert found is None
        return
    assert found is not None
    assert found.slope == pytest.approx(scipy.stats.theilslopes(ys, xs).slope)
    expected = scipy.stats.kendalltau(xs, ys, method="asymptotic").pvalue
    assume(not math.isnan(expected))
    assert found.p_value == pytest.approx(expected, abs=1e-9)


def test_a_trend_is_told_from_noise() -> None:
    noise = random.Random(1)
    rising = trend(range(30), [at * 0.1 + noise.gauss(0, 0.3) for at in range(30)])
    flat = trend(range(30), [noise.gauss(0, 0.3) for _ in range(30)])
    assert rising is not None
    assert flat is not None
    assert (rising.significant, flat.significant) == (True, False)
    assert rising.slope == pytest.approx(0.1, abs=0.03)
    assert trend([1, 2], [1, 2]) is None


@pytest.mark.parametrize("count", [3, 5, 10, 40])
def test_intervals_of_a_mean_hold_it_as_often_as_they_say(count: int) -> None:
    noise = random.Random(count)
    held = 0
    for _ in range(200):
        found = mean_interval([noise.gauss(5, 2) for _ in range(count)], draws=200)
        assert found is not None
        held += 5 in found
    assert 0.89 <= held / 200 <= 1, "95 % is promised, and no fewer for few values"


def test_a_difference_is_that_of_scipys_bootstrap() -> None:
    noise = random.Random(3)
    one, other = ([noise.gauss(mean, 1) for _ in range(60)] for mean in (1.0, 0.0))
    found = difference_interval(one, other)
    expected = scipy.stats.bootstrap(
        (one, other), lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), method="percentile", rng=1
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06)
    assert fmean(one) - fmean(other) in found


def test_neighbours_that_depend_on_each_other_tell_less() -> None:
    noise = random.Random(4)
    walk = [0.0]
    for _ in range(199):
        walk.append(0.95 * walk[-1] + noise.gauss(0, 1))
    alone, together = mean_interval(walk), mean_interval(walk, block=block_of(walk))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert difference_interval([1.0], [1.0, 2.0]) is None
