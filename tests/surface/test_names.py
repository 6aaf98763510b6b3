"""What keys are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.prometheus.families import OURS
from mlflow_monitoring_exporter.prometheus.names import GENERIC, RESERVED, FamilyNames, family_name, short_run_ids

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
run_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(keys | st.sampled_from([spec.name.removeprefix("mlflow_") for spec in OURS]))
def test_any_key_gets_a_name_that_prometheus_accepts_and_that_is_not_ours(key: str) -> None:
    name = family_name(key)
    assert re.fullmatch(r"mlflow_[a-zA-Z0-9_]+", name)
    assert not RESERVED.fullmatch(name.removeprefix("mlflow_"))
    assert name not in {spec.name for spec in OURS}


def test_every_family_of_ours_is_reserved() -> None:
    names = {spec.name.removeprefix("mlflow_") for spec in OURS} | {GENERIC.removeprefix("mlflow_")}
    # In OpenMetrics a counter's family has no _total, and would clash with a gauge of that name.
    names |= {name.removesuffix("_total") for name in names}
    assert [name for name in names if not RESERVED.fullmatch(name)] == []


@given(st.lists(run_ids))
def test_shortened_run_ids_stay_apart(ids: list[str]) -> None:
    short = short_run_ids([*ids, "abcdefab" + "0" * 24, "abcdefab" + "1" * 24])
    assert len(set(short.values())) == len(short)
    assert all(run_id.startswith(prefix) and len(prefix) >= 8 for run_id, prefix in short.items())


@pytest.mark.parametrize(
    ("rename", "key", "name"),
    [
        ({"val/*": "validation_*"}, "val/acc", "mlflow_validation_acc"),
        ({"val/*": "validation_*"}, "train/acc", "mlflow_train_acc"),
        ({"*/*": "*_of_*"}, "val/acc", "mlflow_val_of_acc"),
        ({"*": "x_*", "acc": "never"}, "acc", "mlflow_x_acc"),
        ({"epoch?": "epoch"}, "epoch7", "mlflow_epoch"),
        ({"[vt]al/*": "*"}, "tal/acc", "mlflow_acc"),
        ({"[*]/*": "star_*"}, "x/acc", "mlflow_x_acc"),
        ({"[": "bracket"}, "[", "mlflow_bracket"),
        ({"a.c": "dot"}, "abc", "mlflow_abc"),
        ({"Acc": "capital"}, "acc", "mlflow_acc"),
        ({"a": "run_info"}, "a", "mlflow_metric_run_info"),
        ({"*": "plain"}, "line\nbreak", "mlflow_plain"),
    ],
)
def test_keys_are_renamed_by_the_first_pattern_that_fits(rename: dict[str, str], key: str, name: str) -> None:
    assert FamilyNames(rename, generic=False)[key] == name


@given(keys, st.text("*?[]!ab", min_size=1, max_size=8))
def test_any_pattern_can_be_used(key: str, pattern: str) -> None:
    assert re.fullmatch(r"mlflow_[a-zA-Z0-9_]+", FamilyNames({pattern: "x"}, generic=False)[key])


def test_generic_naming_has_one_family_for_all() -> None:
    names = FamilyNames({"acc": "x"}, generic=True)
    assert {names[key] for key in ("acc", "loss", "run_info")} == {GENERIC}
    assert names.help({"acc"}) == names.help({"loss"})


def test_a_family_says_which_keys_it_holds_as_they_were_logged() -> None:
    assert FamilyNames({}, generic=False).help({"val/acc", "val acc"}) == (
        "Latest value of the MLflow metric val acc, val/acc."
    )
