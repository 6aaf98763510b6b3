"""How runs went over time: by day, week or month, how many there were and succeeded, and how good they were."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from mlflow_monitoring_exporter.analysis.estimates import Trend, quantile, trend
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.analysis.shown import table
from mlflow_monitoring_exporter.core.values import RunStatus, RunValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Periods without runs are shown between others, unless they were more than this.
_MOST = 1000


class Every(StrEnum):
    """How long a period is; weeks begin on Mondays, and all of them at midnight UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Period:
    """The runs that started in it. ``succeeded`` is the share of those that ended and finished; None if none ended.

    ``best`` and ``median`` are of the finite values of the metric, ``best_run`` who had it first; ``best_so_far`` is
    the best up to the period's end. None where there is no value, or no ranking.
    """

    begins: date
    runs: int
    finished: int
    failed: int
    succeeded: float | None
    best: float | None
    best_run: str | None
    median: float | None
    best_so_far: float | None


@dataclass(frozen=True, slots=True)
class History:
    """Periods in order. ``trend`` is that of their medians, by period; ``undated`` is how many runs have no start."""

    every: Every
    ranking: Ranking | None
    periods: tuple[Period, ...]
    trend: Trend | None
    undated: int = 0

    def _repr_html_(self) -> str:
        return table(map(asdict, self.periods), self.ranking.metric if self.ranking else "")


def history_of(runs: Iterable[RunValue], every: Every, ranking: Ranking | None) -> History:
    """The runs by periods; ``ranking`` says which values of their metric are better."""
    by_period: dict[date, list[RunValue]] = {}
    undated = 0
    for run in runs:
        begins = None if run.start_ms is None else _begin(run.start_ms, every)
        if begins is None:
            undated += 1
        else:
            by_period.setdefault(begins, []).append(run)
    periods: list[Period] = []
    so_far: float | None = None
    for begins in _all_between(by_period, every):
        period = _period(begins, by_period.get(begins, ()), ranking, so_far)
        so_far = period.best_so_far
        periods.append(period)
    medians = [(at, period.median) for at, period in enumerate(periods) if period.median is not None]
    return History(every, ranking, tuple(periods), trend(*zip(*medians, strict=True)) if medians else None, undated)


def _period(begins: date, runs: Iterable[RunValue], ranking: Ranking | None, so_far: float | None) -> Period:
    count = finished = failed = 0
    valued: list[RunValue] = []
    for run in runs:
        count += 1
        finished += run.status is RunStatus.FINISHED
        failed += run.status in (RunStatus.FAILED, RunStatus.KILLED)
        if run.value is not None and math.isfinite(run.value):
            valued.append(run)
    best = best_run = median = None
    if valued and ranking is not None:
        sign = ranking.sign
        first = max(valued, key=lambda run: (sign * (run.value or 0.0), -(run.start_ms or 0), run.run_id))
        best, best_run = first.value, first.run_id
        median = quantile(sorted(run.value for run in valued if run.value is not None), 0.5)
        so_far = best if so_far is None or best is None else max(so_far, best, key=lambda value: sign * value)
    ended = finished + failed
    return Period(begins, count, finished, failed, finished / ended if ended else None, best, best_run, median, so_far)


def _begin(start_ms: int, every: Every) -> date | None:
    try:
        day = (_EPOCH + timedelta(milliseconds=start_ms)).date()
    except OverflowError:
        return None
    if every is Every.WEEK:
        return day - timedelta(days=day.weekday()) if day > date.min + timedelta(days=7) else None
    return day.replace(day=1) if every is Every.MONTH else day


def _all_between(periods: Iterable[date], every: Every) -> list[date]:
    """These and those between them, if that is not too many."""
    found = sorted(periods)
    if not found:
        return []
    filled = [found[0]]
    while filled[-1] < found[-1]:
        if len(filled) > _MOST:
            return found
        filled.append(_next(filled[-1], every))
    return filled


def _next(begins: date, every: Every) -> date:
    if every is Every.MONTH:
        return (begins.replace(day=1) + timedelta(days=32)).replace(day=1)
    return begins + timedelta(days=7 if every is Every.WEEK else 1)
