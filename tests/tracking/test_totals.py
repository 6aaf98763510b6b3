"""What is counted of runs whose files are gone."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_tracking.sending.histograms import LATENCY_MS, Histogram
from mlflow_monitoring_tracking.sending.totals import Totals, change_totals, load_totals

values = st.lists(st.floats(0, 1e6))


@given(values, values)
def test_histograms_add_up_and_are_the_same_after_they_were_saved(one: list[float], other: list[float]) -> None:
    first, second, both = Histogram(LATENCY_MS), Histogram(LATENCY_MS), Histogram(LATENCY_MS)
    first.observe(one)
    second.observe(other)
    both.observe([*one, *other])
    first.add(second)
    assert first.counts == both.counts
    assert sum(first.counts) == len(one) + len(other)
    for bound, upto in zip(LATENCY_MS, range(1, len(LATENCY_MS) + 1), strict=True):
        assert sum(first.counts[:upto]) == sum(value <= bound for value in [*one, *other])
    assert Histogram.of(LATENCY_MS, json.loads(json.dumps(first.to_json()))) == first


def test_no_change_is_lost_when_many_make_them_at_once(tmp_path: Path) -> None:
    def add() -> None:
        for _ in range(20):
            change_totals(tmp_path, count)

    def count(totals: Totals) -> None:
        totals.runs += 1
        totals.of("mlflow").delivered_points += 2
        totals.of("mlflow").upload_bytes.observe([10.0])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = load_totals(tmp_path)
    assert (totals.runs, totals.of("mlflow").delivered_points) == (80, 160)
    assert sum(totals.of("mlflow").upload_bytes.counts) == 80


def test_a_damaged_file_is_a_new_beginning(tmp_path: Path) -> None:
    assert load_totals(tmp_path / "not there") == Totals()
    (tmp_path / "totals.json").write_text('{"runs": [1]}')
    assert load_totals(tmp_path) == Totals()
