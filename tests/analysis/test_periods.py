"""Periods are those of pandas on the same runs."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.analysis.periods import Every, history_of
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.values import RunStatus, RunValue

DAY = 86_400_000
LOSS = Ranking("loss", Direction.MIN, "")
#: Pandas' names for the same periods.
RULES = {Every.DAY: "D", Every.WEEK: "W-SUN", Every.MONTH: "M"}

moments = st.datetimes(datetime(2024, 1, 1), datetime(2025, 6, 1)).map(  # noqa: DTZ001 - said to be UTC below
    lambda moment: int(moment.replace(tzinfo=UTC).timestamp() * 1000)
)
values = st.none() | st.floats(-10, 10).map(lambda v: round(v, 2)) | st.sampled_from([math.nan, math.inf])
runs_strategy = st.lists(
    st.builds(RunValue, st.uuids().map(str), st.just("1"), st.sampled_from(RunStatus), moments, st.none(), values),
    min_size=1,
    max_size=40,
)


@given(runs_strategy, st.sampled_from(Every))
def test_counts_best_and_median(runs: list[RunValue], every: Every) -> None:
    found = history_of(runs, every, LOSS)
    table = pd.DataFrame(runs)
    table["value"] = pd.to_numeric(table["value"]).where(lambda v: v.abs() < math.inf)
    table["begins"] = pd.to_datetime(table["start_ms"], unit="ms").dt.to_period(RULES[every]).dt.start_time.dt.date
    by_period = dict(tuple(table.groupby("begins")))
    assert {p.begins for p in found.periods if p.runs} == set(by_period)
    best = math.inf
    for period in found.periods:
        if not period.runs:
            assert (period.best, period.succeeded) == (None, None)
            continue
        rows = by_period[period.begins]
        ended = rows["status"].isin(["FINISHED", "FAILED", "KILLED"]).sum()
        assert (period.runs, period.finished) == (len(rows), (rows["status"] == "FINISHED").sum())
        assert period.succeeded == (None if not ended else period.finished / ended)
        lowest, median = rows["value"].min(), rows["value"].median()
        assert period.best == (None if math.isnan(lowest) else lowest)
        assert (period.median is None) == math.isnan(median)
        assert period.median is None or period.median == pytest.approx(median)
        best = best if math.isnan(lowest) else min(best, lowest)
        assert period.best_so_far == (None if best == math.inf else best)
    begins = [period.begins for period in found.periods]
    assert begins == sorted(set(begins))


def test_days_without_runs_are_there_and_centuries_are_not() -> None:
    def at(day: int) -> RunValue:
        return RunValue(str(day), "1", RunStatus.FINISHED, day * DAY, None, 1.0)

    assert [p.runs for p in history_of([at(0), at(3)], Every.DAY, None).periods] == [1, 0, 0, 1]
    assert [p.runs for p in history_of([at(0), at(100_000)], Every.DAY, None).periods] == [1, 1]
    assert [p.begins for p in history_of([at(4), at(40)], Every.MONTH, None).periods] == [
        date(1970, 1, 1),
        date(1970, 2, 1),
    ]


def test_runs_without_a_start_or_from_no_calendar_are_counted_apart() -> None:
    odd = [RunValue("a", "1", RunStatus.RUNNING, start, None, 1.0) for start in (None, 2**62, -(2**62))]
    found = history_of(odd, Every.DAY, LOSS)
    assert (found.periods, found.undated, found.trend) == ((), 3, None)


def test_of_nothing_there_is_no_history() -> None:
    assert history_of([], Every.WEEK, LOSS).periods == ()


def test_the_median_falls_week_by_week() -> None:
    runs = [RunValue(str(at), "1", RunStatus.FINISHED, at * DAY, None, 1 / (at + 1)) for at in range(70)]
    found = history_of(runs, Every.WEEK, LOSS)
    assert found.trend is not None
    assert found.trend.significant
    assert found.trend.slope < 0
