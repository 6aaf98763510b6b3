"""When did a run last log anything, as far as the times of its points can be believed (core/plausible_times.py)?"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mlflow_monitoring_exporter.core.plausible_times import EARLIEST_MS, plausible
from mlflow_monitoring_exporter.core.values import Point

#: MLflow logs these keys by itself, from a thread of its own.
_SYSTEM = "system/"


def last_logged(
    latest: Iterable[Point],
    read_ms: int,
    *,
    before: tuple[int | None, int | None] = (None, None),
    is_new: Callable[[Point], bool] = lambda _point: True,
) -> tuple[int | None, int | None]:
    """When a run last logged anything but system metrics, and when anything; None where that is unknown.

    ``before`` is what was found when it was read last. A point that is not new since then had been logged by then,
    whatever its time says: so a time that is ahead of the clock counts once, as the moment when it was read first.
    """
    last: int | None = None
    alive: int | None = None
    for point in latest:
        system = point.key.startswith(_SYSTEM)
        when = plausible(point.timestamp_ms, read_ms)
        if when is None:
            continue
        known = before[system]
        if known is not None and EARLIEST_MS <= known < when and not is_new(point):
            when = known
        if alive is None or when > alive:
            alive = when
        if not system and (last is None or when > last):
            last = when
    return last, alive
