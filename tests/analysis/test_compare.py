"""Comparisons: every number is that of pandas on the same data, and the recommendation says what the numbers say."""

from __future__ import annotations

import math
import random
import statistics

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.compare import Comparison, compare_runs
from mlflow_monitoring_exporter.analysis.curves import Curve, curve_of
from mlflow_monitoring_exporter.analysis.pareto import pareto_front
from mlflow_monitoring_exporter.analysis.ranking import choose_ranking
from mlflow_monitoring_exporter.analysis.recommend import Answer
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.values import Point, Run
from tests.analysis.made import made

KEYS = ("accuracy", "val/loss", "gibberish", "system/cpu_utilization_percentage")
values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3)) | st.sampled_from([math.nan, math.inf, -math.inf])
runs_strategy = st.lists(
    st.builds(
        made,
        st.dictionaries(st.sampled_from(KEYS), values),
        st.dictionaries(st.sampled_from("ab"), st.text(max_size=3)),
    ),
    min_size=1,
    max_size=8,
)


def curve(*points: float, key: str = "accuracy") -> Curve:
    return curve_of(Point(key, step, step, value) for step, value in enumerate(points))


@given(runs_strategy)
def test_deltas_and_best_are_those_of_pandas(runs: list[Run]) -> None:
    found = compare_runs(runs, metrics=["accuracy"])
    table = pd.DataFrame([{p.key: p.value for p in run.latest} for run in runs], columns=list(KEYS), dtype=float)
    finite = table.where(table.abs() < math.inf)
    for row in found.metrics:
        column = finite[row.key]
        to_baseline = column - column[0]
        assert [d if d is not None else math.nan for d in row.to_baseline] == pytest.approx(
            list(to_baseline), nan_ok=True
        )
        if row.better is None or column.isna().all():
            assert row.best is None
        else:
            best = column.idxmax() if row.better == "max" else column.idxmin()
            assert row.best == best
            assert [d if d is not None else math.nan for d in row.to_best] == pytest.approx(
                list(column - column[best]), nan_ok=True
            )
    accuracy = finite["accuracy"]
    assert found.best_run == (None if accuracy.isna().all() else runs[int(accuracy.idxmax())].run_id)
    assert {row.key for row in found.params} == {key for key in "ab" if len({run.params.get(key) for run in runs}) > 1}
    if found.best_run is not None:
        place = int(accuracy.idxmax())
        delta = (finite.iloc[place] - finite.iloc[0]).dropna().to_dict()
        assert dict(found.metrics_delta) == pytest.approx(delta)


@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(0, 4).map(float), min_size=3, max_size=3), max_size=20)
)
def test_the_pareto_front_is_whom_nobody_dominates(points: dict[str, list[float]]) -> None:
    directions = (Direction.MAX, Direction.MIN, Direction.MAX)

    def gains(key: str) -> list[float]:
        return [value if d is Direction.MAX else -value for value, d in zip(points[key], directions, strict=True)]

    def dominated(key: str) -> bool:
        return any(
            all(a >= b for a, b in zip(gains(other), gains(key), strict=True)) and gains(other) != gains(key)
            for other in points
        )

    assert set(pareto_front(points, directions)) == {key for key in points if not dominated(key)}


def repeated(mean: float, spread: float, seed: int, **params: str) -> list[Run]:
    noise = random.Random(seed)
    return [
        made({"accuracy": mean + noise.gauss(0, spread)}, {"seed": str(at), **params}, name=f"{params} {at}")
        for at in range(5)
    ]


def said(found: Comparison) -> str:
    return " / ".join((found.recommendation.text, *found.recommendation.reasons))


def test_repeats_with_other_seeds_tell_a_difference_from_noise() -> None:
    old, new = repeated(0.8, 0.01, 1, lr="0.1"), repeated(0.9, 0.01, 2, lr="0.01")
    found = compare_runs([*old, *new])
    assert found.recommendation.answer is Answer.BETTER
    assert found.recommendation.run_id in {run.run_id for run in new}
    assert found.difference is not None
    assert (found.difference.basis, found.difference.counts) == ("repeats", (5, 5))
    assert found.difference.by == pytest.approx(
        statistics.fmean(r.latest[0].value for r in new) - statistics.fmean(r.latest[0].value for r in old)
    )
    assert [spread.count for spread in found.repeats] == [5, 5]
    assert found.repeats[0].stddev == pytest.approx(statistics.stdev(r.latest[0].value for r in old))

    same = compare_runs([*repeated(0.8, 0.05, 3, lr="0.1"), *repeated(0.801, 0.05, 4, lr="0.01")])
    assert same.recommendation.answer is Answer.NO_DIFFERENCE
    assert "No real difference" in same.recommendation.text
    assert "no more than noise: 95 % interval of the difference" in said(same)


def test_a_single_repeat_beats_its_siblings_by_noise_only() -> None:
    found = compare_runs(repeated(0.8, 0.01, 5, lr="0.1"))
    assert found.recommendation.answer is Answer.NO_DIFFERENCE


def test_without_repeats_the_ends_of_the_curves_say_it() -> None:
    noise = random.Random(6)
    far = [made({"accuracy": value}, {"lr": lr}) for value, lr in ((0.9, "1"), (0.7, "2"))]
    curves = {
        (run.run_id, "accuracy"): curve(*(run.latest[0].value + noise.gauss(0, 0.01) for _ in range(60))) for run in far
    }
    found = compare_runs(far, curves=curves)
    assert found.recommendation.answer is Answer.BETTER
    assert "from the last 12 and 12 points of the curves" in said(found)

    near = [made({"accuracy": 0.9}), made({"accuracy": 0.9001})]
    curves = {(r.run_id, "accuracy"): curve(*(0.9 + noise.gauss(0, 0.01) for _ in range(60))) for r in near}
    assert compare_runs(near, curves=curves).recommendation.answer is Answer.NO_DIFFERENCE


def test_without_either_it_is_said_that_it_cannot_be_known() -> None:
    found = compare_runs([made({"accuracy": 0.7}, name="old"), made({"accuracy": 0.9}, name="new")])
    assert found.recommendation.answer is Answer.NOT_SURE
    assert found.recommendation.text.startswith("Take new (")
    assert found.recommendation.text.endswith("better by 0.2 than the baseline, if that is more than noise.")
    assert "no repeats with other seeds, and no curves" in said(found)


def test_less_is_better_where_the_name_or_the_mode_says_so() -> None:
    runs = [made({"val/loss": 0.7}), made({"val/loss": 0.4})]
    assert compare_runs(runs).best_run == runs[1].run_id
    assert compare_runs(runs, metrics=["val/loss"], mode=Direction.MAX).best_run == runs[0].run_id


def test_unseen_data_rank_before_the_training_and_what_tags_name_before_both() -> None:
    runs = [made({"train/accuracy": 1.0, "val/accuracy": 0.8, "test/accuracy": 0.7, "duration_seconds": 3.0})] * 2
    ranking = choose_ranking(runs)
    assert ranking is not None
    assert ranking.metric == "test/accuracy"
    told = choose_ranking(runs, told=["train/accuracy"])
    assert told is not None
    assert (told.metric, told.why) == ("train/accuracy", "the experiment's tags name it")
    assert choose_ranking([made({"gibberish": 1.0})]) is None


def test_what_it_costs_is_said() -> None:
    system = {"system/cpu_utilization_percentage": 50.0, "system/gpu_0_memory_usage_megabytes": 100.0}
    slow = made({"accuracy": 0.9, **system, "model_size_mb": 20.0}, end=600_000)
    quick = made({"accuracy": 0.8, **system, "model_size_mb": 10.0}, end=60_000)
    curves = {
        (slow.run_id, "system/cpu_utilization_percentage"): curve(80, 100, math.nan),
        (slow.run_id, "system/gpu_0_memory_usage_megabytes"): curve(100, 900, 300),
    }
    found = compare_runs([quick, slow], curves=curves)
    spent = {each.run_id: each for each in found.resources}
    assert (spent[slow.run_id].duration_seconds, spent[slow.run_id].cpu_percent) == (600, 90)
    assert (spent[slow.run_id].gpu_memory_megabytes, spent[slow.run_id].model_bytes) == (900, 20e6)
    assert spent[quick.run_id].cpu_percent == 50
    assert "takes 10 times as long" in said(found)
    assert "needs 9 times the memory of the cards" in said(found)
    assert "its model is 2 times as large" in said(found)


def test_of_two_equal_ones_the_cheaper_is_taken() -> None:
    noise = random.Random(7)
    slow, quick = made({"accuracy": 0.9001}, end=600_000), made({"accuracy": 0.9}, end=60_000)
    curves = {(r.run_id, "accuracy"): curve(*(0.9 + noise.gauss(0, 0.01) for _ in range(60))) for r in (slow, quick)}
    found = compare_runs([slow, quick], curves=curves)
    assert (found.recommendation.answer, found.recommendation.run_id) == (Answer.NO_DIFFERENCE, quick.run_id)
    assert found.recommendation.text.endswith("which costs less.")


def test_a_wider_gap_between_groups_is_said() -> None:
    fair = made({"accuracy": 0.80, "accuracy/women": 0.80, "accuracy/men": 0.80})
    unfair = made({"accuracy": 0.85, "accuracy/women": 0.70, "accuracy/men": 0.95})
    found = compare_runs([fair, unfair], metrics=["accuracy"])
    assert "the gap of accuracy between groups is wider: 0.25 against 0, worst for women" in said(found)


def test_sensible_answers_to_runs_without_sense() -> None:
    with pytest.raises(ValueError, match="no runs"):
        compare_runs([])
    with pytest.raises(ValueError, match="none of the runs"):
        compare_runs([made()], baseline="x")
    alone = compare_runs([made({"accuracy": 0.9}, name="only")])
    assert alone.recommendation.text.startswith("Take only (")
    empty = compare_runs([made(), made()])
    assert (empty.recommendation.answer, empty.best_run) == (Answer.UNKNOWN, None)
    broken = compare_runs([made({"accuracy": math.nan}), made({"accuracy": math.inf})])
    assert (broken.recommendation.answer, broken.best_run) == (Answer.UNKNOWN, None)
    many = {f"param {at}": "1" for at in range(10_000)}
    assert compare_runs([made(params=many), made(params={**many, "param 7": "2"})]).params[0].key == "param 7"


def test_fifty_runs_side_by_side() -> None:
    runs = [
        made({"accuracy": at / 50, "val/loss": 1 - at / 50, "f1": (at * 7 % 50) / 50}, {"lr": str(at)})
        for at in range(50)
    ]
    found = compare_runs(runs, metrics=["accuracy", "f1"])
    assert found.best_run == runs[49].run_id
    table = pd.DataFrame({"a": [at / 50 for at in range(50)], "f": [(at * 7 % 50) / 50 for at in range(50)]})
    front = [
        runs[at].run_id
        for at in range(50)
        if not ((table >= table.iloc[at]).all(axis=1) & (table > table.iloc[at]).any(axis=1)).any()
    ]
    assert list(found.pareto) == front
