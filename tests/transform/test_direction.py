"""Which values are better?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.transform.direction import FALLING, RISING, Direction, Directions, by_words

FALL = "loss val/loss train_loss valLoss error_rate rmse RMSE latency.p99 perplexity eval/test_mae accuracy_loss loss2"
RISE = "accuracy val_accuracy f1 f1_score AUC ndcg.10 rouge1 R2 recall_at_5 testF1 mAP"
NOBODY_KNOWS = "epoch lr glossary system/cpu_utilization_percentage grad_norm ключ"


@pytest.mark.parametrize(("keys", "direction"), [(FALL, Direction.MIN), (RISE, Direction.MAX), (NOBODY_KNOWS, None)])
def test_the_words_of_a_key_tell(keys: str, direction: Direction | None) -> None:
    assert [key for key in keys.split() if Directions({}).of(key) is not direction] == []


@given(st.text())
def test_any_key_has_an_answer(key: str) -> None:
    assert by_words(key) in (None, *Direction)


def test_no_word_says_both() -> None:
    assert not FALLING & RISING


def test_the_operator_decides_first_and_the_first_pattern_that_fits() -> None:
    directions = Directions({"business/loss*": "max", "*loss*": "min", "lr": "min", "epoch": "max"})
    assert directions.of("business/loss_prevented") is Direction.MAX
    assert directions.of("hinge_loss") is Direction.MIN
    assert (directions.of("lr"), directions.of("epoch")) == (Direction.MIN, Direction.MAX)


def test_an_improvement_is_positive_whichever_way_is_better() -> None:
    directions = Directions({})
    assert directions.improvement("accuracy", 0.75, 0.5) == 0.25
    assert directions.improvement("loss", 0.75, 0.5) == -0.25
    assert directions.improvement("epoch", 3.0, 1.0) == 2.0
