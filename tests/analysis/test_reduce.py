"""Fewer points, the same shape."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.attention import runs_to_look_at
from mlflow_monitoring_exporter.analysis.reduce import evenly, lttb
from mlflow_monitoring_exporter.core.values import RunStatus
from tests.analysis.made import made


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(3, 50))
def test_ends_stay_and_nothing_is_made_up(values: list[float], most: int) -> None:
    points = [(float(at), value) for at, value in enumerate(values)]
    found = lttb(points, most)
    assert len(found) == min(most, len(points))
    assert found == sorted(set(found))
    assert set(found) <= set(points)
    assert found[:1] + found[-1:] == points[:1] + points[-1:]


def test_a_spike_is_kept() -> None:
    points = [(float(at), 50.0 if at == 777 else math.sin(at / 100)) for at in range(10_000)]
    assert (777.0, 50.0) in lttb(points, 300)


@given(st.lists(st.integers()), st.integers(1, 20))
def test_some_of_all_over(items: list[int], most: int) -> None:
    assert len(evenly(items, most)) == min(most, len(items))


def test_runs_that_failed_diverged_or_went_silent() -> None:
    day = 86_400_000
    runs = [
        made({"loss": math.nan}, status=RunStatus.FAILED),
        made({"gibberish": math.inf}),
        made({"loss": 1.0}, status=RunStatus.RUNNING, start=1),
        made(status=RunStatus.RUNNING, start=6 * day),
    ]
    found = runs_to_look_at(runs, now_ms=6 * day)
    assert [(each.run, each.kind) for each in found] == [(runs[0], "failed"), (runs[0], "diverged")]
    assert found[1].evidence == "loss is not finite"
    late = runs_to_look_at(runs, now_ms=9 * day)
    assert [(each.run, each.kind, each.evidence) for each in late[2:]] == [
        (runs[3], "silent", "it logged nothing for 3 days")
    ]
