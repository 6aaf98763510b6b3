"""Learning curves as lists of floats, one value per step. Pure: all chance comes from the generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random


def falling(
    rng: Random, steps: int, *, start: float, floor: float, noise: float, rate: float = 4.0, upturn: float = 0.0
) -> list[float]:
    """A loss: from ``start`` exponentially towards ``floor``, always positive.

    ``noise`` is relative to the value; ``upturn`` is what overfitting adds by the last step.
    """
    values = []
    for x in _progress(steps):
        ideal = floor + (start - floor) * math.exp(-rate * x) + upturn * max(0.0, x - 0.6) ** 2 / 0.16
        values.append(_rounded(max(1e-4, ideal * (1 + rng.gauss(0, noise)))))
    return values


def rising(
    rng: Random, steps: int, *, start: float, ceiling: float, noise: float, rate: float = 4.0, top: float = 1.0
) -> list[float]:
    """A score: from ``start`` towards ``ceiling``, inside [0, ``top``]; ``noise`` calms down with time."""
    values = []
    for x in _progress(steps):
        ideal = ceiling - (ceiling - start) * math.exp(-rate * x)
        values.append(_rounded(min(top, max(0.0, ideal + rng.gauss(0, noise) * (1 - 0.7 * x)))))
    return values


def wobbling(
    rng: Random, steps: int, *, level: float, swing: float, low: float = 0.0, high: float = 100.0
) -> list[float]:
    """A load: wanders around ``level`` without leaving [``low``, ``high``]."""
    values = []
    offset = rng.gauss(0, swing)
    for _ in range(steps):
        offset = 0.8 * offset + rng.gauss(0, swing) * 0.6
        values.append(_rounded(min(high, max(low, level + offset))))
    return values


def diverged(values: Sequence[float], at: int) -> list[float]:
    """``values`` that from index ``at`` on explode for two steps and are NaN ever after."""
    last = values[at - 1] if at else values[0]
    explosion = [_rounded(last * 40), _rounded(last * 4e6)]
    rest = len(values) - at
    return [*values[:at], *(explosion + [math.nan] * rest)[:rest]]


def _progress(steps: int) -> list[float]:
    """0 at the first step, 1 at the last."""
    return [step / max(1, steps - 1) for step in range(steps)]


def _rounded(value: float) -> float:
    return round(value, 5)
