"""The points of a metric of one run, in 24 bytes each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.values import Point


@dataclass(slots=True)
class Curve:
    """Steps, times in ms and values of points, in the order in which they were added."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, points: Iterable[Point]) -> None:
        for point in points:
            self.steps.append(point.step)
            self.times_ms.append(point.timestamp_ms)
            self.values.append(point.value)

    def __len__(self) -> int:
        return len(self.values)

    def finite(self) -> list[float]:
        """The finite values, in the order of their steps and times."""
        return [value for _, _, value in self.ordered() if math.isfinite(value)]

    def ordered(self) -> Iterator[tuple[int, int, float]]:
        """``(step, time in ms, value)`` in the order of steps, then of times."""
        order = sorted(range(len(self)), key=lambda at: (self.steps[at], self.times_ms[at]))
        return ((self.steps[at], self.times_ms[at], self.values[at]) for at in order)


def curve_of(points: Iterable[Point]) -> Curve:
    """A curve of these points."""
    curve = Curve()
    curve.add(points)
    return curve


#: Curves by run and key.
Curves = Mapping[tuple[str, str], Curve]
