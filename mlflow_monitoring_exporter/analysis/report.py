"""What a report says, before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.analysis.attention import Attention
from mlflow_monitoring_exporter.analysis.importance import Importance
from mlflow_monitoring_exporter.analysis.lint import LintFinding
from mlflow_monitoring_exporter.analysis.periods import History
from mlflow_monitoring_exporter.analysis.ranking import Ranking
from mlflow_monitoring_exporter.core.values import Run, RunValue


@dataclass(frozen=True, slots=True)
class RunCurve:
    """The curve of a run by step, reduced from ``of`` points."""

    run: Run
    points: Sequence[tuple[float, float]]
    of: int


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """One experiment in the time of the report.

    ``best`` are the best runs by ``ranking``, ``newest`` at most SAMPLE of the newest, ``values`` of all runs the
    latest value. ``importance`` is None where it cannot be told; ``why_not`` says why.
    """

    name: str
    description: str
    history: History
    ranking: Ranking | None
    best: Sequence[Run]
    newest: Sequence[Run]
    values: Sequence[RunValue]
    curves: Sequence[RunCurve]
    importance: Importance | None
    why_not: str
    attention: Sequence[Attention]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. ``counts`` are runs by experiment, for all experiments that had any in this time."""

    server: str
    since_ms: int
    until_ms: int
    history: History
    counts: Mapping[str, int]
    experiments: Sequence[ExperimentReport]
    findings: Sequence[LintFinding] = field(default_factory=tuple)

    @property
    def attention(self) -> list[tuple[str, Attention]]:
        return [(each.name, attention) for each in self.experiments for attention in each.attention]
