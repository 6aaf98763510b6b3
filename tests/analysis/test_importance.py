"""Importance of parameters, held against functions of which Sobol's indices are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.importance import Method, param_importance
from mlflow_monitoring_exporter.analysis.importance.settings import Kind, read_settings
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import Run
from tests.analysis.made import made

SCORE = Ranking("score", Direction.MAX, "")

Draw = Callable[[random.Random], dict[str, float | str]]


def ishigami(p: dict[str, float | str]) -> float:
    x, y, z = (float(p[name]) for name in "xyz")
    return math.sin(x) + 7 * math.sin(y) ** 2 + 0.1 * z**4 * math.sin(x)


def of_ishigami(source: random.Random) -> dict[str, float | str]:
    return {name: source.uniform(-math.pi, math.pi) for name in "xyz"}


def training(p: dict[str, float | str]) -> float:
    """Mixed: a logarithmic rate with an optimum, a category, and a momentum that only one optimizer has."""
    rate = -((math.log10(float(p["lr"])) + 3) ** 2)
    return rate + (3.0 * float(p["momentum"]) if p["optimizer"] == "sgd" else 1.0) + 0.2 * float(p["layers"])


def of_training(source: random.Random) -> dict[str, float | str]:
    return {
        "optimizer": source.choice(["sgd", "adam", "lamb"]),
        "lr": 10 ** source.uniform(-5, -1),
        "momentum": source.uniform(0, 1),
        "layers": source.randint(1, 8),
    }


def boosting(p: dict[str, float | str]) -> float:
    """Mixed: the rate of dropping counts with one booster only, and the depth with an interaction."""
    drop = -4 * (float(p["rate_drop"]) - 0.3) ** 2 if p["booster"] == "dart" else 0.0
    return drop + 0.3 * float(p["depth"]) * (2.0 if p["loss"] == "huber" else 1.0)


def of_boosting(source: random.Random) -> dict[str, float | str]:
    return {
        "booster": source.choice(["tree", "dart"]),
        "rate_drop": source.uniform(0, 1),
        "depth": source.uniform(1, 6),
        "loss": source.choice(["huber", "squared"]),
    }


#: Which parameters are there, by the value of another one.
CONDITIONS = {"momentum": ("optimizer", "sgd"), "rate_drop": ("booster", "dart")}


def runs_of(function: Callable[[dict[str, float | str]], float], draw: Draw, count: int) -> list[Run]:
    source = random.Random(count)
    found = []
    for _ in range(count):
        params = draw(source)
        score = function(params)
        logged = {
            k: str(v) for k, v in params.items() if k not in CONDITIONS or params[CONDITIONS[k][0]] == CONDITIONS[k][1]
        }
        found.append(made({"score": score}, {**logged, "seed_of_data": "7"}))
    return found


def true_total(function: Callable[[dict[str, float | str]], float], draw: Draw) -> dict[str, float]:
    """The total indices by Jansen's estimator, of the function itself."""
    source = random.Random(0)
    pairs = [(draw(source), draw(source)) for _ in range(8_000)]
    base = [function(one) for one, _ in pairs]
    variance = pvariance(base)
    return {
        key: fmean((b - function({**one, key: other[key]})) ** 2 for b, (one, other) in zip(base, pairs, strict=True))
        / (2 * variance)
        for key in pairs[0][0]
    }


@pytest.mark.parametrize(
    ("function", "draw"),
    [(ishigami, of_ishigami), (training, of_training), (boosting, of_boosting)],
    ids=["ishigami", "training", "boosting"],
)
def test_the_total_importance_is_sobols_total_index(
    function: Callable[[dict[str, float | str]], float], draw: Draw
) -> None:
    expected = true_total(function, draw)
    found = param_importance(runs_of(function, draw, 600), SCORE, resamples=2)
    by_key = {param.key: param.importance for param in found.params}
    assert set(by_key) == set(expected)
    for key, index in expected.items():
        assert by_key[key] == pytest.approx(index, abs=0.1), key
    clear = [k for k in sorted(expected, key=lambda k: -expected[k]) if expected[k] > 0.1]
    assert [param.key for param in found.params][: len(clear)] == clear
    assert found.explained is not None
    assert found.explained > 0.85
    assert found.left_out == {"seed_of_data": "is 7 in every run"}
    assert all(p.interval is not None and p.importance in p.interval for p in found.params)
    assert {p.key: p.conditional_on for p in found.params if p.conditional_on} == {
        key: parent for key, (parent, _) in CONDITIONS.items() if key in expected
    }


def test_optunas_methods_say_what_they_mean() -> None:
    runs = runs_of(ishigami, of_ishigami, 120)
    alone = param_importance(runs, SCORE, method=Method.FANOVA, resamples=0)
    assert sum(param.importance for param in alone.params) == pytest.approx(1)
    assert alone.params[-1].key == "z", "which does nothing alone"
    best = param_importance(runs, SCORE, method=Method.PED_ANOVA, resamples=0)
    assert best.params[0].key == "x"
    assert (alone.explained, alone.params[0].interval) == (None, None)


def test_of_many_runs_a_sample_is_looked_at_and_said() -> None:
    found = param_importance(runs_of(ishigami, of_ishigami, 1200), SCORE, method=Method.PED_ANOVA, resamples=0)
    assert (found.runs, found.of) == (1000, 1200)


def test_of_many_parameters_those_that_say_most_are_evaluated() -> None:
    runs = runs_of(ishigami, of_ishigami, 100)
    noise = random.Random(1)
    many = [replace(run, params={**run.params, **{f"n{at}": str(noise.random()) for at in range(400)}}) for run in runs]
    found = param_importance(many, SCORE, resamples=1)
    assert len(found.params) <= 31
    assert found.params[0].key in {"x", "y"}
    assert len(found.left_out) + len(found.params) == 404
    assert "says less than 30 others" in found.left_out.values()


def test_what_cannot_be_told_is_said() -> None:
    runs = runs_of(ishigami, of_ishigami, 20)
    with pytest.raises(QuestionError, match="9 runs have a finite value of score: fewer than 10"):
        param_importance(runs[:9], SCORE)
    with pytest.raises(QuestionError, match="no parameter varies between the 12 runs"):
        param_importance([made({"score": float(at)}, {"a": "1"}) for at in range(12)], SCORE)
    with pytest.raises(QuestionError, match="score is 1 in all 12 runs"):
        param_importance([made({"score": 1.0}, {"a": str(at)}) for at in range(12)], SCORE)
    broken = [made({"score": math.nan}, {"a": str(at)}) for at in range(12)]
    with pytest.raises(QuestionError, match="0 runs have a finite value"):
        param_importance(broken, SCORE)


def test_parameters_are_numbers_logarithms_or_categories() -> None:
    runs = [
        {"lr": "0.001", "layers": "3", "name": f"n{at}", "amp": "True", "odd": "1_0", "nan": "nan"} for at in range(60)
    ]
    runs[0] |= {"lr": "0.1", "layers": "4", "amp": "False", "odd": "7", "nan": "1"}
    runs[1] |= {"lr": "1e-5"}
    found = {setting.key: setting for setting in read_settings(runs).used}
    assert {key: setting.kind for key, setting in found.items()} == {
        "lr": Kind.LOG, "layers": Kind.NUMBER, "amp": Kind.CATEGORY, "odd": Kind.CATEGORY, "nan": Kind.CATEGORY,
    }  # fmt: skip
    assert found["lr"].codes[:3] == (-1, -5, -3)
    assert read_settings(runs).left_out == {"name": "has 60 different texts"}


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2", "x", "", "1e400", "-3"])), max_size=12)
)
def test_any_parameters_can_be_read(runs: list[dict[str, str]]) -> None:
    for setting in read_settings(runs).used:
        assert len(setting.codes) == len(runs)
        assert len(set(setting.codes)) > 1 or setting.condition is not None
        assert all(map(math.isfinite, setting.codes))
