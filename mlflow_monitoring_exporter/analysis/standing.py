"""What the runs of one experiment say together, for gauges: is the newest best better, how much is noise, for whom?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from mlflow_monitoring_exporter.analysis.fairness import GroupMetric, group_metrics
from mlflow_monitoring_exporter.analysis.ranking import Ranking, VerdictOf, best_of, choose_ranking, values_of
from mlflow_monitoring_exporter.analysis.stability import repeats, spread_of_repeats
from mlflow_monitoring_exporter.core.directions.direction import by_words
from mlflow_monitoring_exporter.core.values import Run, RunStatus


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the runs of an experiment that finished, by the metric of ``ranking``.

    ``delta`` is by how much the best of them is better than the best of those that started before it; positive is
    better, whichever way that is, and None for the first of all. ``noise`` is by how much repeats differ: the median of
    their standard deviations, None without repeats. ``fairness`` is that of the best run. ``importance`` is of
    parameters by name, from 0 to 1; empty where it was not asked for.
    """

    ranking: Ranking
    best_run: str
    delta: float | None
    noise: float | None
    fairness: tuple[GroupMetric, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict)


def standing_of(
    runs: Sequence[Run], *, verdict_of: VerdictOf = by_words, told: Iterable[str] = (), ranking: Ranking | None = None
) -> Standing | None:
    """Of these runs of one experiment; None where none finished with a finite value of a metric that ranks.

    A metric is chosen (:func:`choose_ranking`) unless ``ranking`` says which.
    """
    finished = [run for run in runs if run.status is RunStatus.FINISHED]
    ranking = ranking or choose_ranking(finished, verdict_of=verdict_of, told=told)
    if ranking is None:
        return None
    values = {run.run_id: values_of(run).get(ranking.metric, math.nan) for run in finished}
    best = best_of(values, ranking)
    if best is None:
        return None
    run = next(run for run in finished if run.run_id == best)
    before = {one.run_id: values[one.run_id] for one in finished if (one.start_ms or 0) < (run.start_ms or 0)}
    record = best_of(before, ranking)
    spreads = [spread_of_repeats(group, ranking.metric) for group in repeats(finished)]
    noise = [spread.stddev for spread in spreads if spread is not None]
    return Standing(
        ranking,
        best,
        None if record is None else ranking.sign * (values[best] - values[record]),
        median(noise) if noise else None,
        group_metrics([run], verdict_of=verdict_of),
    )
