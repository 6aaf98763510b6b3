"""Is a run that says RUNNING still doing anything?

Everything else about a run's life is what MLflow says. These two judgements need a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_monitoring_exporter.config.schema import GaugesConfig
from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a run may be silent, in ms: at most ``after``, and ``gaps`` times its own usual gap.

    A gap is never taken to be shorter than ``shortest``: polls cannot tell.
    """

    after: float
    gaps: float
    shortest: float
    orphaned: float

    @classmethod
    def of(cls, config: GaugesConfig, *, interval: float) -> Patience:
        """With ``interval`` seconds between two polls."""
        return cls(config.stalled_after * 1000, config.stalled_gaps, interval * 1000, config.orphaned_after * 1000)


def stalled(run: RunGauges, now_ms: int, patience: Patience) -> bool:
    """A run is RUNNING, and has logged nothing for too long.

    System metrics do not count: a thread of MLflow's goes on logging them while the training hangs.
    """
    silent = _silence(run, run.last_ms, now_ms)
    if silent is None:
        return False
    if run.gap_ms is not None and silent > patience.gaps * max(run.gap_ms, patience.shortest):
        return True
    return silent > patience.after


def orphaned(run: RunGauges, now_ms: int, patience: Patience, *, parent_ended: bool) -> bool:
    """A run is RUNNING, and will surely never be ended: it is stalled and its parent has ended, or long silent."""
    if not stalled(run, now_ms, patience):
        return False
    silent = _silence(run, run.alive_ms, now_ms)
    return parent_ended or (silent is not None and silent > patience.orphaned)


def duration_ms(run: RunGauges) -> int | None:
    """From start to end; a run without an end counts up to the last metric that it logged.

    So the number changes only when the run does.
    """
    end = run.end_ms if run.status.terminal and run.end_ms is not None else run.last_ms
    return None if run.start_ms is None or end is None else max(0, end - run.start_ms)


def _silence(run: RunGauges, last_ms: int | None, now_ms: int) -> float | None:
    """None where silence says nothing, in ms."""
    signs = [sign for sign in (last_ms, run.start_ms) if sign is not None]
    return now_ms - max(signs) if signs and run.status is RunStatus.RUNNING else None
