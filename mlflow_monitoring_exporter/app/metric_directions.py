"""Which way is better, for every metric key that MLflow has, and what says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.app.one_look import one_look
from mlflow_monitoring_exporter.app.self_monitoring import Progress
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.directions.direction import Directions, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A key: ``better`` is ``max``, ``min`` or None where that cannot be said; ``why`` is what decided.

    ``experiments`` are the names of those in which it is so where others say otherwise; empty where all agree.
    """

    metric: str
    better: str | None
    why: str
    experiments: tuple[str, ...] = ()


def judge(config: Config, keys: Sequence[str]) -> list[Judged]:
    """Any keys, by patterns and words alone; MLflow is not asked."""
    directions = Directions(config.export.metrics.direction)
    return [_judged(key, directions.verdict(key)) for key in keys]


def judge_all(config: Config, progress: Progress | None = None) -> list[Judged]:
    """Every key of the watched experiments, sorted. Changes nothing; raises SourceError."""
    found: dict[str, dict[Verdict, set[str]]] = {}
    for server in config.servers:
        with one_look(config, server, config.export, progress=progress) as poller:
            for experiment, key, verdict in poller.verdicts():
                found.setdefault(key, {}).setdefault(verdict, set()).add(experiment)
    return [
        _judged(key, verdict, sorted(experiments) if len(verdicts) > 1 else ())
        for key, verdicts in sorted(found.items())
        for verdict, experiments in sorted(verdicts.items(), key=lambda item: sorted(item[1]))
    ]


def _judged(key: str, verdict: Verdict, experiments: Sequence[str] = ()) -> Judged:
    return Judged(key, verdict.better, verdict.why, tuple(experiments))
