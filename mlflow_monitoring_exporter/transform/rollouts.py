"""What deployments of model versions say: of each model in each environment.

The tracking library makes a run for each, in the experiment ``rollouts/<environment>/<model>``, named like the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.prometheus import families
from mlflow_monitoring_exporter.prometheus.families import Spec

#: How the names of their experiments begin.
PREFIX = "rollouts/"


def rollout_series(
    name: str, short_run_id: str, newest: RunGauges, runs: Sequence[RunGauges]
) -> Iterator[tuple[Spec, tuple[str, ...], float]]:
    """The series of one model in one environment: of its ``newest`` deployment, and of all that are known."""
    environment, _, model = name.partition("/")
    where = (model, environment)
    info = (*where, newest.name, newest.experiment_id, short_run_id, newest.run_id, newest.status.value)
    yield families.ROLLOUT_INFO, info, 1.0
    if newest.start_ms is not None:
        yield families.ROLLOUT_STARTED, (*where, newest.name), newest.start_ms / 1000
    yield families.ROLLOUTS, where, float(len(runs))
    yield families.ROLLOUTS_FAILED, where, float(sum(run.status is RunStatus.FAILED for run in runs))
    yield families.ROLLBACKS, where, float(sum("rollback" in run.values for run in runs))
    in_order = sorted(runs, key=lambda run: (run.start_ms or 0, run.run_id))
    leads = [run.values["lead_time_seconds"] for run in in_order if "lead_time_seconds" in run.values]
    if leads:
        yield families.ROLLOUT_LEAD_TIME, where, leads[-1]
    restored = _restored_ms(in_order)
    if restored is not None:
        yield families.ROLLOUT_RESTORE, where, restored / 1000


def _restored_ms(runs: Sequence[RunGauges]) -> int | None:
    """From the end of the last failure that was mended to the end of the success that did."""
    failed: int | None = None
    found: int | None = None
    for run in runs:
        if run.end_ms is None:
            continue
        if run.status is RunStatus.FAILED:
            failed = run.end_ms if failed is None else failed
        elif run.status is RunStatus.FINISHED and failed is not None:
            found, failed = max(0, run.end_ms - failed), None
    return found
