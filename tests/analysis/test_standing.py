"""How an experiment stands: better than before, by more than noise, and for whom."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.analysis.standing import standing_of
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.values import Point, Run, RunStatus


def run(number: int, status: RunStatus = RunStatus.FINISHED, *, seed: int | None = None, **values: float) -> Run:
    points = tuple(Point(key.replace("__", "/"), 0, 1, value) for key, value in values.items())
    params = {} if seed is None else {"lr": "0.1", "seed": str(seed)}
    return Run(f"{number:032x}", "1", f"run-{number}", status, 1000 + number, 2000 + number, {}, points, params)


def test_the_best_is_held_against_the_best_before_it() -> None:
    standing = standing_of([run(4, accuracy=0.8), run(3, accuracy=0.9), run(2, accuracy=0.7), run(1, accuracy=0.85)])
    assert standing is not None
    assert (standing.ranking.metric, standing.best_run) == ("accuracy", f"{3:032x}")
    assert standing.delta == pytest.approx(0.05)


def test_less_of_a_loss_is_better() -> None:
    standing = standing_of([run(2, val_loss=0.2), run(1, val_loss=0.5)])
    assert standing is not None
    assert standing.delta == pytest.approx(0.3)


def test_the_first_is_better_than_nothing_that_is_known() -> None:
    standing = standing_of([run(2, accuracy=0.5), run(1, accuracy=0.9)])
    assert standing is not None
    assert standing.delta is None


def test_only_what_finished_with_a_finite_value_counts() -> None:
    failed = run(3, RunStatus.FAILED, accuracy=0.99)
    standing = standing_of([run(4, accuracy=math.nan), failed, run(2, accuracy=0.9), run(1, accuracy=0.8)])
    assert standing is not None
    assert standing.delta == pytest.approx(0.1)
    assert standing_of([failed, run(1, accuracy=math.inf)]) is None
    assert standing_of([run(1, somethings=3.0)]) is None, "which way is better is not known"
    assert standing_of([]) is None


def test_noise_is_what_repeats_differ_by() -> None:
    standing = standing_of([run(n, seed=n, accuracy=value) for n, value in enumerate((0.8, 0.82, 0.84))])
    assert standing is not None
    assert standing.noise == pytest.approx(0.02)
    alone = standing_of([run(1, seed=1, accuracy=0.8)])
    assert alone is not None
    assert alone.noise is None


def test_fairness_is_that_of_the_best_run() -> None:
    good, bad = (
        run(2, accuracy=0.9, accuracy__a=0.95, accuracy__b=0.85),
        run(1, accuracy=0.5, accuracy__a=0.1, accuracy__b=0.9),
    )
    standing = standing_of([good, bad], ranking=Ranking("accuracy", Direction.MAX, "asked for"))
    assert standing is not None
    (groups,) = standing.fairness
    assert groups.metric == "accuracy"
    assert groups.gap == pytest.approx(0.1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_a_delta_is_never_negative_and_exact(values: list[float]) -> None:
    standing = standing_of([run(n, accuracy=value) for n, value in enumerate(values)])
    assert standing is not None
    first = values.index(max(values))
    assert standing.delta == (None if first == 0 else max(values) - max(values[:first]))
