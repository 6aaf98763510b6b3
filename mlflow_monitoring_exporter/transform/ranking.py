"""Which experiments are the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def newest_first(experiment_ids: Sequence[str], activity_ms: Mapping[str, int], limit: int) -> list[str]:
    """The ``limit`` ids with the newest activity; equal ones, and those without any, in the order given."""
    active = [i for i in experiment_ids if i in activity_ms]
    active.sort(key=lambda i: -activity_ms[i])
    idle = [i for i in experiment_ids if i not in activity_ms]
    return [*active, *idle][:limit]
