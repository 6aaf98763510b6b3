"""Which values are better?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions, by_words, hints_of
from mlflow_monitoring_exporter.core.directions.vocabulary import FALLING, RESOURCES, RISING, SILENT
from tests.transform.labelled import LESS, MORE, NEITHER

FALL = "loss val/loss train_loss valLoss error_rate rmse RMSE latency.p99 perplexity eval/test_mae accuracy_loss loss2"
RISE = "accuracy val_accuracy f1 f1_score AUC ndcg.10 rouge1 R2 recall_at_5 testF1 mAP"
UNKNOWN = "epoch lr glossary system/cpu_utilization_percentage grad_norm ключ"


@pytest.mark.parametrize(("keys", "direction"), [(FALL, Direction.MIN), (RISE, Direction.MAX), (UNKNOWN, None)])
def test_the_words_of_a_key_tell(keys: str, direction: Direction | None) -> None:
    assert [key for key in keys.split() if Directions({}).of(key) is not direction] == []


def labelled() -> Iterator[tuple[str, Direction | None]]:
    for table, direction in ((LESS, Direction.MIN), (MORE, Direction.MAX), (NEITHER, None)):
        yield from ((key.replace("~", " "), direction) for names in table.values() for key in names.split())


def test_names_that_frameworks_log_are_understood() -> None:
    names = list(labelled())
    assert len(dict(names)) > 1000
    assert [(key, by_words(key).why) for key, direction in names if by_words(key).direction is not direction] == []


#: Names without a slash or a sign of their own, to which frameworks and people add something.
PLAIN = [(key, way) for key, way in labelled() if key.replace("_", "").isalnum() and key.islower()]


BEFORE = ["", "val/", "test_", "eval/", "train-", "metrics.", "valid_0/", "final_", "mean_", "model a: "]
AFTER = ["", "_mean", "/avg", "_p99", "_best", "-macro", ".min", "_max", " (val)", "/v1/mean"]


@pytest.mark.parametrize("before", BEFORE)
def test_what_is_put_around_a_name_does_not_turn_it(before: str) -> None:
    names = ((f"{before}{key}{after}", way) for key, way in PLAIN for after in AFTER)
    assert [name for name, way in names if by_words(name).direction not in (way, None)] == []


@pytest.mark.parametrize("separator", ["/", ".", "-", " ", ":"])
def test_words_may_be_parted_by_anything(separator: str) -> None:
    keys = [
        "val_f1_score",
        "mean_squared_error",
        "brier_score",
        "neg_log_loss",
        "std_test_score",
        "false_positive_rate",
    ]
    assert [by_words(key.replace("_", separator)).direction for key in keys] == [by_words(k).direction for k in keys]


@given(st.text())
def test_any_key_has_an_answer(key: str) -> None:
    assert by_words(key).direction in (None, *Direction)


def test_no_word_says_two_things() -> None:
    assert not FALLING & RISING
    assert not (FALLING | RISING) & SILENT
    assert RESOURCES <= FALLING | RISING


def test_the_operator_decides_first_and_the_first_pattern_that_fits() -> None:
    directions = Directions({"business/loss*": "max", "*loss*": "min", "lr": "min", "epoch": "max"})
    assert directions.of("business/loss_prevented") is Direction.MAX
    assert directions.of("hinge_loss") is Direction.MIN
    assert (directions.of("lr"), directions.of("epoch")) == (Direction.MIN, Direction.MAX)
    assert directions.verdict("hinge_loss").why == "pattern *loss*"


def test_tags_of_an_experiment_go_before_words_and_behind_patterns() -> None:
    tags = {
        "mlflow.experiment.primaryMetric.name": "foo",
        "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
        "greater_is_better.val/loss": "true",
        "greater_is_better.lr": "FALSE",
        "greater_is_better.bar": "perhaps",
        "greater_is_better.": "true",
    }
    directions = Directions({"lr": "max"}).within(hints_of(tags))
    assert directions.told() == ["foo", "lr", "val/loss"]
    found = {key: directions.verdict(key).better for key in ("foo", "val/loss", "lr", "bar", "accuracy")}
    assert found == {"foo": "max", "val/loss": "max", "lr": "max", "bar": None, "accuracy": "max"}
    assert directions.verdict("foo").why == "tag of the experiment"
    assert directions.improvement("val/loss", 0.75, 0.5) == 0.25


def test_an_improvement_is_positive_whichever_way_is_better() -> None:
    directions = Directions({})
    assert directions.improvement("accuracy", 0.75, 0.5) == 0.25
    assert directions.improvement("loss", 0.75, 0.5) == -0.25
    assert directions.improvement("epoch", 3.0, 1.0) == 2.0
