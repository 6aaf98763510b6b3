"""Gaps and ratios between groups are fairlearn's."""

from __future__ import annotations

import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from mlflow_monitoring_exporter.analysis.fairness import group_metrics
from tests.analysis.made import made

people = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from(["a", "b", "c"])), min_size=2, max_size=60
)


@given(people)
@settings(max_examples=25, deadline=None)  # fairlearn takes a twentieth of a second for each
def test_gap_and_ratio_are_those_of_fairlearn(found: list[tuple[int, int, str]]) -> None:
    truth, said, groups = zip(*found, strict=True)
    frame = MetricFrame(
        metrics={"accuracy": accuracy_score, "recall": lambda t, s: recall_score(t, s, zero_division=0.0)},
        y_true=truth,
        y_pred=said,
        sensitive_features=groups,
    )
    run = made({f"{name}/{group}": frame.by_group[name][group] for name in frame.by_group for group in set(groups)})
    measured = {each.metric: each for each in group_metrics([run])}
    if len(set(groups)) < 2:
        assert measured == {}
        return
    for name, each in measured.items():
        assert each.gap == pytest.approx(frame.difference(method="between_groups")[name])
        expected = frame.ratio(method="between_groups")[name]
        assert each.ratio == pytest.approx(expected, nan_ok=True)
        assert each.groups[each.worst or ""] == frame.group_min()[name]
    assert set(measured) == {"accuracy", "recall"}


def test_what_is_no_group_is_none() -> None:
    run = made({
        "train/loss": 1.0, "val/loss": 2.0,
        "accuracy/train": 0.9, "accuracy/val": 0.8,
        "loss/box": 1.0, "loss/class": 2.0,
        "system/cpu_utilization_percentage": 1.0, "system/gpu_0_power_usage_watts": 2.0,
        "accuracy/only": 0.5,
    })  # fmt: skip
    assert group_metrics([run]) == ()
    assert {g.metric for g in group_metrics([run], metrics=["loss"])} == {"loss"}


def test_of_what_rises_with_harm_the_largest_is_worst() -> None:
    [each] = group_metrics([made({"error_rate/young": 0.1, "error_rate/old": 0.3})])
    assert each.worst == "old"
    assert (each.gap, each.ratio) == pytest.approx((0.2, 1 / 3))


def test_runs_that_a_tag_tells_apart_are_groups_of_their_parent() -> None:
    runs = [
        made({"accuracy": value}, tags={"group": group, "mlflow.parentRunId": "p"})
        for group, value in (("north", 0.9), ("south", 0.6))
    ]
    [each] = group_metrics(runs, tag="group")
    assert (each.run_id, each.metric, dict(each.groups)) == ("p", "accuracy", {"north": 0.9, "south": 0.6})
    assert each.worst == "south"
