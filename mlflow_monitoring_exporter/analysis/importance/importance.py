"""How much of the variation of a metric comes from which parameter.

::

    total       what share of the variance goes when all but this parameter are fixed: the total index of Sobol, of a
                model (gradient boosting) that is fitted to the runs. Parameters that act together count for each
    fanova      the share that each explains alone, by a random forest (Hutter et al. 2014), through Optuna
    ped-anova   what makes the best runs the best (Watanabe et al. 2023), through Optuna

All need the extra ``analysis``. With more than 1,000 runs a sample of them is looked at.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mlflow_monitoring_exporter.analysis.estimates import Interval, quantile
from mlflow_monitoring_exporter.analysis.importance.settings import Setting, Settings, read_settings
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.analysis.shown import table
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.errors import MissingExtraError, QuestionError
from mlflow_monitoring_exporter.core.values import Run

#: Runs that are looked at: a forest of 10,000 takes a quarter of an hour, and says the same.
SAMPLE = 1000
#: Fewer runs with a value say nothing about a parameter.
_FEWEST = 10
#: The share of the variance that a model must explain before its answer is worth much.
_ENOUGH = 0.5
#: Parameters that are evaluated; of more those that say most.
_MOST_PARAMS = 30
#: Times that the runs are drawn anew, to see how far the answer depends on which there are.
_RESAMPLED = 10


class Method(StrEnum):
    """What importance means."""

    TOTAL = "total"
    FANOVA = "fanova"
    PED_ANOVA = "ped-anova"


@dataclass(frozen=True, slots=True)
class ParamImportance:
    """A parameter, its importance from 0 to 1, and where that lies if the runs are drawn anew (90 % of the draws)."""

    key: str
    kind: str
    importance: float
    interval: Interval | None
    conditional_on: str | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """``params`` are sorted, the most important first; ``left_out`` says why others are not among them.

    ``runs`` of ``of`` runs with a value were looked at. ``explained`` is the share of the variance that the model of
    ``total`` explains of runs that it has not seen: near 0, nothing of this is to be believed. None for other methods.
    """

    ranking: Ranking
    method: Method
    params: tuple[ParamImportance, ...]
    runs: int
    of: int
    explained: float | None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def believable(self) -> bool:
        """Whether the model knows enough of the runs; of the other methods nothing says that they do not."""
        return self.explained is None or self.explained >= _ENOUGH

    def _repr_html_(self) -> str:
        rows = ({"parameter": p.key, "importance": p.importance, "kind": p.kind} for p in self.params)
        return table(rows, f"{self.ranking.metric} by {self.method.value}")


#: The importance of each setting, from the codes and values of the runs at these places; and what the model explains.
Evaluate = Callable[[Sequence[Setting], Sequence[float], Sequence[int]], tuple[Sequence[float], float | None]]


def param_importance(
    runs: Sequence[Run], ranking: Ranking, *, method: Method = Method.TOTAL, resamples: int = _RESAMPLED
) -> Importance:
    """Of each parameter that varies for the latest value of the ranking's metric.

    Raises QuestionError for too few runs with a finite value, or no parameter that varies, and MissingExtraError where
    the packages are not installed.
    """
    valued = [(run, value) for run in runs if (value := _value(run, ranking.metric)) is not None]
    if len(valued) < _FEWEST:
        raise QuestionError(
            f"{len(valued)} runs have a finite value of {ranking.metric}: fewer than {_FEWEST} tell nothing"
        )
    source = random.Random(len(valued))  # noqa: S311 - a sample, no secret
    looked_at = valued if len(valued) <= SAMPLE else source.sample(valued, SAMPLE)
    settings = read_settings([run.params for run, _ in looked_at])
    if not settings.used:
        raise QuestionError(f"no parameter varies between the {len(looked_at)} runs with a value of {ranking.metric}")
    values = [value for _, value in looked_at]
    if max(values) == min(values):
        raise QuestionError(f"{ranking.metric} is {values[0]:g} in all {len(values)} runs: nothing can have made it so")
    evaluate = _evaluator(method, ranking)
    used, left_out = _worth_it(settings, values)
    everyone = range(len(values))
    found, explained = evaluate(used, values, everyone)
    drawn = [evaluate(used, values, source.choices(everyone, k=len(values)))[0] for _ in range(resamples)]
    params = [
        ParamImportance(
            setting.key,
            setting.kind.value,
            found[at],
            _interval([each[at] for each in drawn], found[at]),
            setting.condition.parent if setting.condition else None,
        )
        for at, setting in enumerate(used)
    ]
    params.sort(key=lambda param: (-param.importance, param.key))
    return Importance(ranking, method, tuple(params), len(looked_at), len(valued), explained, left_out)


def _worth_it(settings: Settings, values: Sequence[float]) -> tuple[Sequence[Setting], Mapping[str, str]]:
    """Those that are evaluated, and why others are not."""
    if len(settings.used) <= _MOST_PARAMS:
        return settings.used, settings.left_out
    try:
        from mlflow_monitoring_exporter.analysis.importance.sobol import say_most  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("the importance of parameters", "analysis", error.name) from None
    chosen = say_most(settings.used, values, _MOST_PARAMS)
    keys = {setting.key for setting in chosen}
    why = f"says less than {len(chosen)} others"
    return chosen, {**settings.left_out, **{s.key: why for s in settings.used if s.key not in keys}}


def _value(run: Run, metric: str) -> float | None:
    return next((p.value for p in run.latest if p.key == metric and math.isfinite(p.value)), None)


def _interval(drawn: list[float], found: float) -> Interval | None:
    if len(drawn) < 2:
        return None
    drawn.sort()
    return Interval(min(quantile(drawn, 0.05), found), max(quantile(drawn, 0.95), found))


def _evaluator(method: Method, ranking: Ranking) -> Evaluate:
    try:
        if method is Method.TOTAL:
            from mlflow_monitoring_exporter.analysis.importance.sobol import total_indices  # noqa: PLC0415 - an extra

            return total_indices
        from mlflow_monitoring_exporter.analysis.importance.through_optuna import evaluator  # noqa: PLC0415 - an extra

        return evaluator(method.value, maximize=ranking.direction is Direction.MAX)
    except ImportError as error:
        raise MissingExtraError("the importance of parameters", "analysis", error.name) from None
