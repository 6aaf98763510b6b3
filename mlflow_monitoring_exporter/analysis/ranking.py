"""By which metric runs are ranked, and which way it gets better."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.core.directions.direction import Direction, Verdict, by_words
from mlflow_monitoring_exporter.core.values import Run

#: The verdict on a key, of which values are better: a method of :class:`Directions`, or what the words alone say.
VerdictOf = Callable[[str], Verdict]

#: What is measured on data that a model has not seen says more about it; in this order.
_SEEN = (
    (0, re.compile(r"(?<![a-z])(test|holdout|heldout)(?![a-z])", re.IGNORECASE)),
    (1, re.compile(r"(?<![a-z])(val|valid|validation|eval|evaluation|dev|cv)(?![a-z])", re.IGNORECASE)),
    (3, re.compile(r"(?<![a-z])(train|training|fit)(?![a-z])", re.IGNORECASE)),
)
_SYSTEM = "system/"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The metric that decides, which of its values are better, and why it is this one."""

    metric: str
    direction: Direction
    why: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction is Direction.MAX else -1

    @property
    def word(self) -> str:
        """``more`` or ``less``: of which the metric is better."""
        return "more" if self.direction is Direction.MAX else "less"


def values_of(run: Run) -> dict[str, float]:
    """The latest value of each metric of a run."""
    return {point.key: point.value for point in run.latest}


def choose_ranking(
    runs: Sequence[Run],
    *,
    verdict_of: VerdictOf = by_words,
    metric: str | None = None,
    mode: Direction | None = None,
    told: Iterable[str] = (),
) -> Ranking | None:
    """By ``metric`` if it is given, else by one that ``told`` names first, else by one that many of the runs have.

    Of those that half as many runs have as have the commonest: on unseen data rather than on that of the training.

    None where no metric has a direction that is known; ``mode`` is that direction where it is not, and decides.
    """
    if metric is not None:
        verdict = verdict_of(metric)
        direction = mode or verdict.direction
        why = "as was said" if mode else verdict.why
        return None if direction is None else Ranking(metric, direction, f"asked for; {why}")
    held: dict[str, int] = {}
    for run in runs:
        for point in run.latest:
            if math.isfinite(point.value):
                held[point.key] = held.get(point.key, 0) + 1
    for key in told:
        if key in held and (direction := mode or verdict_of(key).direction):
            return Ranking(key, direction, "the experiment's tags name it")
    candidates = [key for key in held if judges(key, verdict_of(key))]
    if not candidates:
        return None
    enough = max(held[key] for key in candidates) / 2
    key = min((key for key in candidates if held[key] >= enough), key=lambda key: (_rank_of(key), -held[key], key))
    verdict = verdict_of(key)
    return Ranking(key, mode or verdict.direction or Direction.MAX, f"{held[key]} of {len(runs)} runs have it")


def best_of(values: Mapping[str, float], ranking: Ranking) -> str | None:
    """The key of the best finite value; the first of equal ones."""
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    return max(finite, key=lambda key: ranking.sign * finite[key], default=None)


def judges(key: str, verdict: Verdict) -> bool:
    """Whether a metric says how good a model is, and not what it cost or how busy a machine was."""
    return verdict.direction is not None and not verdict.resource and not key.startswith(_SYSTEM)


def _rank_of(key: str) -> int:
    return next((rank for rank, pattern in _SEEN if pattern.search(key)), 2)
