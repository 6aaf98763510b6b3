"""Is more better, or less?

::

    export.metrics.direction      a pattern of the operator's
    tags of the experiment        what MLflow knows, or what a team says of its own metrics
    the words of the key          val/loss falls, train_f1_score rises, of epoch it is unknown

The first that says something decides. A wrong direction is worse than none, so words that may mean either say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Self

from mlflow_monitoring_exporter.core.directions import words as wording
from mlflow_monitoring_exporter.core.patterns import Patterns
from mlflow_monitoring_exporter.core.values import GREATER_IS_BETTER, PRIMARY_GREATER, PRIMARY_METRIC


class Direction(Enum):
    """Which values of a metric are better."""

    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one key: which values are better, None where that cannot be said, and why.

    ``resource`` says that it tells of time, money or speed, not of how good a model is.
    """

    direction: Direction | None
    why: str
    resource: bool = False

    @property
    def better(self) -> str | None:
        """``min``, ``max`` or None."""
        return None if self.direction is None else self.direction.value


class Directions:
    """The direction of each key; the first of ``patterns`` (pattern -> ``min`` or ``max``) that fits decides.

    ``hints`` are what the tags of one experiment say (:func:`hints_of`): whether greater is better.
    """

    def __init__(self, patterns: Mapping[str, str], hints: Mapping[str, bool] | None = None) -> None:
        self._given = patterns
        self._patterns = [(pattern, Patterns([pattern]), Direction(word)) for pattern, word in patterns.items()]
        self._hints = dict(hints or {})

    def within(self, hints: Mapping[str, bool]) -> Self:
        """The same patterns in an experiment whose tags say ``hints``."""
        return self if hints == self._hints else type(self)(self._given, hints)

    def told(self) -> list[str]:
        """The keys of which tags of the experiment speak, its primary metric first."""
        return list(self._hints)

    def of(self, key: str) -> Direction | None:
        """None where nothing says anything."""
        return self.verdict(key).direction

    def verdict(self, key: str) -> Verdict:
        """The direction, and what decided."""
        for pattern, patterns, direction in self._patterns:
            if key in patterns:
                return Verdict(direction, f"pattern {pattern}", by_words(key).resource)
        if key in self._hints:
            direction = Direction.MAX if self._hints[key] else Direction.MIN
            return Verdict(direction, "tag of the experiment", by_words(key).resource)
        return by_words(key)

    def improvement(self, key: str, value: float, before: float) -> float:
        """By how much ``value`` is better than ``before``; where the direction is unknown, by how much it is larger."""
        return before - value if self.of(key) is Direction.MIN else value - before


@lru_cache(maxsize=100_000)
def by_words(key: str) -> Verdict:
    """What the words of the key say."""
    sense = wording.sense_of(key)
    direction = {None: None, True: Direction.MAX, False: Direction.MIN}[sense.rises]
    return Verdict(direction, sense.why, sense.resource)


def hints_of(tags: Mapping[str, str]) -> dict[str, bool]:
    """What the tags of an experiment say of its metrics: key -> whether greater is better."""
    own = sorted(name for name in tags if name.startswith(GREATER_IS_BETTER))
    said = [(name.removeprefix(GREATER_IS_BETTER), tags[name]) for name in own]
    if PRIMARY_METRIC in tags:
        said.insert(0, (tags[PRIMARY_METRIC], tags.get(PRIMARY_GREATER, "")))
    words = {"true": True, "false": False}
    return {key: words[text.strip().lower()] for key, text in said if key and text.strip().lower() in words}
