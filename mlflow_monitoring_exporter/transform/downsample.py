"""Fewer points of a long history."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlflow_monitoring_exporter.core.values import Point


def every(points: Sequence[Point], multiple: int) -> list[Point]:
    """Those whose step is a multiple, the last of all, and those that are not finite; ``points`` are in order.

    The steps alone decide over all but the last, so that it does not matter how a history was cut for reading.
    """
    last = len(points) - 1
    return [p for at, p in enumerate(points) if p.step % multiple == 0 or at == last or not math.isfinite(p.value)]


def lttb(points: Sequence[Point], count: int) -> list[Point]:
    """``count`` of the points that are finite, which keep the shape of their curve best, and all that are not.

    Largest triangle three buckets (Steinarsson, "Downsampling Time Series for Visual Representation", 2013): the
    first, the last, and of each bucket between them the point that makes the largest triangle with the one that was
    taken before and the mean of the bucket after. ``points`` are in order; over time, for steps may all be zero.
    """
    finite = [at for at, point in enumerate(points) if math.isfinite(point.value)]
    if len(finite) <= count:
        return list(points)
    wanted = set(_chosen([(float(points[at].timestamp_ms), points[at].value) for at in finite], max(2, count)))
    dropped = {at for number, at in enumerate(finite) if number not in wanted}
    return [point for at, point in enumerate(points) if at not in dropped]


def _chosen(curve: Sequence[tuple[float, float]], count: int) -> list[int]:
    """The indexes of the points that stay."""
    size = (len(curve) - 2) / (count - 2) if count > 2 else math.inf
    edges = [1 + math.floor(number * size) for number in range(count - 1)] if count > 2 else [1]
    edges[-1] = len(curve) - 1
    taken = [0]
    for number in range(count - 2):
        following = curve[edges[number + 1] : edges[number + 2]] if number + 2 < len(edges) else curve[-1:]
        mean_x = sum(x for x, _ in following) / len(following)
        mean_y = sum(y for _, y in following) / len(following)
        x0, y0 = curve[taken[-1]]

        def area(at: int, x0: float = x0, y0: float = y0, to: tuple[float, float] = (mean_x, mean_y)) -> float:
            x, y = curve[at]
            return abs((x0 - to[0]) * (y - y0) - (x0 - x) * (to[1] - y0))

        taken.append(max(range(edges[number], edges[number + 1]), key=area))
    return [*taken, len(curve) - 1]
