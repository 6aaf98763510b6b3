"""Fewer points that look like all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def lttb(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most ``most`` of the points, chosen so that the line through them keeps its shape.

    Largest-Triangle-Three-Buckets (Steinarsson 2013): of each bucket the point that spans the largest triangle with the
    one chosen before and the mean of the next bucket. Points come sorted by their first value; ``most`` is 3 or more.
    """
    if len(points) <= most:
        return list(points)
    width = (len(points) - 2) / (most - 2)
    chosen = [points[0]]
    for bucket in range(most - 2):
        begin, end = int(bucket * width) + 1, int((bucket + 1) * width) + 1
        after = points[end : int((bucket + 2) * width) + 1] or points[-1:]
        mean_x = sum(x for x, _ in after) / len(after)
        mean_y = sum(y for _, y in after) / len(after)
        x0, y0 = chosen[-1]
        chosen.append(
            max(points[begin:end], key=lambda p: abs((x0 - mean_x) * (p[1] - y0) - (x0 - p[0]) * (mean_y - y0)))
        )
    chosen.append(points[-1])
    return chosen


def evenly(items: Sequence[_T], most: int) -> list[_T]:
    """At most ``most`` of the items, from all over."""
    if len(items) <= most:
        return list(items)
    return [items[at * len(items) // most] for at in range(most)]
