"""What the executions of data pipelines say: of each pipeline the one that began last, and when one last succeeded.

The tracking library makes a run for each execution, in the experiment ``pipelines/<name>``; its metrics have the names
that docs/reference/tracking.md gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.prometheus import families
from mlflow_monitoring_exporter.prometheus.families import Spec

#: How the names of their experiments begin.
PREFIX = "pipelines/"
_STAGE, _QUALITY = "stage/", "quality/"


def pipeline_series(
    pipeline: str, short_run_id: str, newest: RunGauges, runs: Sequence[RunGauges]
) -> Iterator[tuple[Spec, tuple[str, ...], float]]:
    """The series of one pipeline: of its ``newest`` execution, and of the last success among ``runs``."""
    what = (newest.experiment_id, short_run_id, newest.run_id, newest.status.value)
    yield families.PIPELINE_INFO, (pipeline, *what), 1.0
    ended = [run.end_ms for run in runs if run.status is RunStatus.FINISHED and run.end_ms is not None]
    if ended:
        yield families.PIPELINE_LAST_SUCCESS, (pipeline,), max(ended) / 1000
    for key, value in sorted(newest.values.items()):
        if key in families.PIPELINE_METRICS:
            yield families.PIPELINE_METRICS[key], (pipeline,), value
        elif key.startswith(_STAGE):
            stage, _, metric = key.removeprefix(_STAGE).rpartition("/")
            if stage and metric in families.STAGE_METRICS:
                yield families.STAGE_METRICS[metric], (pipeline, stage), value
        elif key.startswith(_QUALITY):
            yield families.PIPELINE_QUALITY, (pipeline, key.removeprefix(_QUALITY)), value
