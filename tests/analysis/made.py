"""Runs for the pure functions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from mlflow_monitoring_exporter.core.values import Point, Run, RunStatus

_numbers = itertools.count(1)


def made(
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, str] | None = None,
    *,
    name: str = "",
    status: RunStatus = RunStatus.FINISHED,
    start: int | None = 0,
    end: int | None = 60_000,
    tags: Mapping[str, str] | None = None,
    experiment: str = "1",
) -> Run:
    run_id = f"{next(_numbers):032x}"
    latest = tuple(Point(key, 0, 0, value) for key, value in (metrics or {}).items())
    return Run(
        run_id,
        experiment,
        name or f"run {run_id[-4:]}",
        status,
        start,
        end,
        dict(tags or {}),
        latest,
        dict(params or {}),
    )
