"""Times of points, so that no two that were logged are one row in MLflow.

MLflow keeps one row for each (key, step, time, value): two equal values at one step in one millisecond are one.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class PointTimes:
    """When each point of a run was logged: never back, and strictly later where a step of its key occurs again.

    Keeps one entry for each key. A step above all earlier ones of its key is new, whatever its time; any other
    may have been there, and gets a time that its key has not had.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}  # the greatest step, the latest time

    def at(self, key: str, step: int | None) -> int:
        """The time of a point that is logged now, in ms."""
        now = time.time_ns() // 1_000_000
        number = step or 0  # MLflow's own reading of no step
        last = self._last.get(key)
        if last is None:
            self._last[key] = (number, now)
            return now
        greatest, latest = last
        if number > greatest:
            now = max(now, latest)
            self._last[key] = (number, now)
        else:
            now = max(now, latest + 1)
            self._last[key] = (greatest, now)
        return now
