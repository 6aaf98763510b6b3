"""What the rules look at, and what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.analysis.curves import Curve
from mlflow_monitoring_exporter.core.values import Run


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run and what else is known of it at ``now_ms``.

    ``curves`` are its points by key. ``has_dataset`` says whether MLflow has an input of it, None where it was not
    asked. ``artifacts`` are path and bytes of its files, None where they cannot be listed.
    """

    run: Run
    now_ms: int
    curves: Mapping[str, Curve] = field(default_factory=dict)
    has_dataset: bool | None = None
    artifacts: Sequence[tuple[str, int]] | None = None


@dataclass(frozen=True, slots=True)
class ExperimentFacts:
    """An experiment with its tags and those of its runs that are looked at."""

    name: str
    tags: Mapping[str, str]
    runs: Sequence[RunFacts]


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One habit in one experiment: how many of how many runs have it, some of them, what was seen, and what to do.

    Without runs (``of`` is 0) it is the experiment itself.
    """

    rule: str
    experiment: str
    found: int
    of: int
    evidence: str
    advice: str
    run_ids: tuple[str, ...] = ()
