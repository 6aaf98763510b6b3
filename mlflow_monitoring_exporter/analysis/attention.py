"""Runs that somebody should look at: what alerts say of them, without Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.analysis.ranking import VerdictOf
from mlflow_monitoring_exporter.core.directions.direction import by_words
from mlflow_monitoring_exporter.core.values import Run, RunStatus

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Attention:
    """A run, what is wrong with it (``failed``, ``diverged``, ``silent``), and the evidence."""

    run: Run
    kind: str
    evidence: str


def runs_to_look_at(runs: Iterable[Run], *, now_ms: int, verdict_of: VerdictOf = by_words) -> Sequence[Attention]:
    """What is wrong with each, in the order of the runs."""
    found: list[Attention] = []
    for run in runs:
        broken = [
            point.key
            for point in run.latest
            if not math.isfinite(point.value) and verdict_of(point.key).direction is not None
        ]
        if run.status is RunStatus.FAILED:
            found.append(Attention(run, "failed", "its status is FAILED"))
        if broken:
            found.append(Attention(run, "diverged", f"{', '.join(sorted(broken)[:3])} is not finite"))
        last = max((point.timestamp_ms for point in run.latest), default=run.start_ms or 0)
        if run.status is RunStatus.RUNNING and last and now_ms - last > _DAY_MS:
            found.append(Attention(run, "silent", f"it logged nothing for {(now_ms - last) / _DAY_MS:.0f} days"))
    return found
