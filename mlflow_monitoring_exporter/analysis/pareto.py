"""Runs of which none is better in everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlflow_monitoring_exporter.core.directions.direction import Direction


def pareto_front(values: Mapping[str, Sequence[float]], directions: Sequence[Direction]) -> tuple[str, ...]:
    """The keys that no other is at least as good as in every place and better in one; in the order given.

    ``values`` has one for each of ``directions``. Who lacks a finite value takes no part.
    """
    signs = [1.0 if direction is Direction.MAX else -1.0 for direction in directions]
    gains = {
        key: tuple(sign * value for sign, value in zip(signs, each, strict=True))
        for key, each in values.items()
        if all(map(math.isfinite, each))
    }
    front: list[tuple[float, ...]] = []
    # By falling sum whoever is dominated comes after one that dominates it.
    for gain in sorted(set(gains.values()), key=lambda each: (-sum(each), each)):
        if not any(_dominates(other, gain) for other in front):
            front.append(gain)
    kept = set(front)
    return tuple(key for key in values if gains.get(key) in kept)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
