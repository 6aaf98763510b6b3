"""Runs side by side: what differs, which is best, whether it is better by more than noise, and at what price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.analysis.curves import Curves
from mlflow_monitoring_exporter.analysis.fairness import GroupMetric, group_metrics
from mlflow_monitoring_exporter.analysis.pareto import pareto_front
from mlflow_monitoring_exporter.analysis.ranking import Ranking, VerdictOf, best_of, choose_ranking, values_of
from mlflow_monitoring_exporter.analysis.recommend import Recommendation, called, recommend
from mlflow_monitoring_exporter.analysis.resources import Resources, resources_of
from mlflow_monitoring_exporter.analysis.shown import paragraph, table
from mlflow_monitoring_exporter.analysis.stability import (
    Difference,
    Spread,
    difference,
    repeats,
    spread_of_curve,
    spread_of_repeats,
)
from mlflow_monitoring_exporter.core.directions.direction import Direction, by_words
from mlflow_monitoring_exporter.core.values import Run


@dataclass(frozen=True, slots=True)
class ParamRow:
    """A parameter that differs between the runs; None where a run has none."""

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """The latest values of a metric in the order of the runs, and what they are away from the best and the baseline.

    ``better`` is ``min``, ``max`` or None; ``best`` the place of the best value, None where that is not known.
    Deltas are value minus best, and value minus baseline; None where either is missing or not finite.
    """

    key: str
    better: str | None
    values: tuple[float | None, ...]
    best: int | None
    to_best: tuple[float | None, ...]
    to_baseline: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of :func:`compare_runs`.

    ``metrics_delta`` is best run minus baseline; positive is not always better. ``repeats`` and ``curves`` say how
    much noise there is in the metric of ``ranking``; ``difference`` is that between the best run and the baseline, or
    the second best where the baseline is best.
    """

    runs: tuple[Run, ...]
    baseline: str
    ranking: Ranking | None
    params: tuple[ParamRow, ...]
    metrics: tuple[MetricRow, ...]
    best_run: str | None
    metrics_delta: Mapping[str, float]
    difference: Difference | None
    repeats: tuple[Spread, ...]
    curves: tuple[Spread, ...]
    resources: tuple[Resources, ...]
    fairness: tuple[GroupMetric, ...]
    pareto: tuple[str, ...]
    pareto_metrics: tuple[str, ...]
    recommendation: Recommendation
    experiments: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        names = [called(run) for run in self.runs]
        metrics = ({"metric": row.key, **dict(zip(names, row.values, strict=True))} for row in self.metrics)
        params = ({"parameter": row.key, **dict(zip(names, row.values, strict=True))} for row in self.params)
        said = "".join(map(paragraph, (self.recommendation.text, *self.recommendation.reasons)))
        return said + table(metrics, "Metrics") + table(params, "Parameters that differ")


def compare_runs(
    runs: Sequence[Run],
    *,
    curves: Curves | None = None,
    verdict_of: VerdictOf = by_words,
    metrics: Sequence[str] = (),
    mode: Direction | None = None,
    baseline: str | None = None,
    told: Iterable[str] = (),
    ranking: Ranking | None = None,
    group_tag: str | None = None,
    experiments: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare ``runs``, of which the first is the baseline unless another id is given.

    ``ranking`` ranks them if it is given, else ``metrics[0]``, else a metric is chosen (:func:`choose_ranking`);
    ``mode`` says which way it gets better; all of ``metrics`` together make the Pareto front. ``curves`` are those of
    the metric that ranks and of what :func:`~.resources.resource_keys` names: what is missing is not said. Raises
    ValueError for no runs, or a baseline that is none of them.
    """
    if not runs:
        raise ValueError("there are no runs to compare")
    by_id = {run.run_id: run for run in runs}
    base = runs[0].run_id if baseline is None else baseline
    if base not in by_id:
        raise ValueError(f"the baseline {base} is none of the runs")
    known = curves or {}
    ranking = choose_ranking(runs, verdict_of=verdict_of, metric=metrics[0] if metrics else None, mode=mode, told=told)
    best, second = _first_two(runs, ranking)
    against = base if best != base else second
    groups = repeats(runs)
    gap = None
    if ranking is not None and best is not None and against is not None:
        gap = difference(by_id[best], by_id[against], ranking, groups, known)
    spent = tuple(resources_of(run, known) for run in runs)
    fairness = group_metrics(runs, verdict_of=verdict_of, tag=group_tag)
    on_front = tuple(dict.fromkeys(metrics)) or ((ranking.metric,) if ranking else ())
    return Comparison(
        runs=tuple(runs),
        baseline=base,
        ranking=ranking,
        params=tuple(_params(runs)),
        metrics=tuple(_metrics(runs, base, ranking, verdict_of)),
        best_run=best,
        metrics_delta=_delta(by_id[best], by_id[base]) if best is not None else {},
        difference=gap,
        repeats=_spreads(spread_of_repeats(group, ranking.metric) for group in groups) if ranking else (),
        curves=_spreads(spread_of_curve(run.run_id, known.get((run.run_id, ranking.metric))) for run in runs)
        if ranking
        else (),
        resources=spent,
        fairness=fairness,
        pareto=_front(runs, on_front, ranking, verdict_of),
        pareto_metrics=on_front,
        recommendation=recommend(
            by_id, best, against, baseline=base, ranking=ranking, gap=gap, spent=spent, fairness=fairness
        ),
        experiments=dict(experiments or {}),
    )


def _first_two(runs: Sequence[Run], ranking: Ranking | None) -> tuple[str | None, str | None]:
    if ranking is None:
        return None, None
    values = {run.run_id: values_of(run).get(ranking.metric, math.nan) for run in runs}
    best = best_of(values, ranking)
    return best, best_of({run_id: value for run_id, value in values.items() if run_id != best}, ranking)


def _params(runs: Sequence[Run]) -> Iterable[ParamRow]:
    for key in sorted({key for run in runs for key in run.params}):
        values = tuple(run.params.get(key) for run in runs)
        if len(set(values)) > 1:
            yield ParamRow(key, values)


def _metrics(runs: Sequence[Run], baseline: str, ranking: Ranking | None, verdict_of: VerdictOf) -> Iterable[MetricRow]:
    latest = [values_of(run) for run in runs]
    base = next(values for run, values in zip(runs, latest, strict=True) if run.run_id == baseline)
    keys = sorted({key for values in latest for key in values})
    if ranking is not None and ranking.metric in keys:
        keys.sort(key=lambda key: key != ranking.metric)
    for key in keys:
        direction = ranking.direction if ranking and key == ranking.metric else verdict_of(key).direction
        values = tuple(each.get(key) for each in latest)
        best = None
        if direction is not None:
            places = {str(at): value for at, value in enumerate(values) if value is not None}
            found = best_of(places, Ranking(key, direction, ""))
            best = None if found is None else int(found)
        yield MetricRow(
            key,
            None if direction is None else direction.value,
            values,
            best,
            tuple(_minus(value, None if best is None else values[best]) for value in values),
            tuple(_minus(value, base.get(key)) for value in values),
        )


def _minus(value: float | None, other: float | None) -> float | None:
    if value is None or other is None or not (math.isfinite(value) and math.isfinite(other)):
        return None
    return value - other


def _delta(best: Run, baseline: Run) -> dict[str, float]:
    base = values_of(baseline)
    deltas = {key: _minus(value, base.get(key)) for key, value in sorted(values_of(best).items())}
    return {key: value for key, value in deltas.items() if value is not None}


def _spreads(found: Iterable[Spread | None]) -> tuple[Spread, ...]:
    return tuple(spread for spread in found if spread is not None)


def _front(
    runs: Sequence[Run], metrics: Sequence[str], ranking: Ranking | None, verdict_of: VerdictOf
) -> tuple[str, ...]:
    """By those of the metrics of which it is known which way they get better."""
    directed: list[tuple[str, Direction]] = []
    for key in metrics:
        direction = ranking.direction if ranking and key == ranking.metric else verdict_of(key).direction
        if direction is not None:
            directed.append((key, direction))
    if not directed:
        return ()
    values = {run.run_id: [values_of(run).get(key, math.nan) for key, _ in directed] for run in runs}
    return pareto_front(values, [direction for _, direction in directed])
