"""Fills an MLflow server or store with demo data."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import SourceRefusedError, SourceResponseError
from mlflow_monitoring_exporter.sample.connection import connected
from mlflow_monitoring_exporter.sample.scenario import plan
from mlflow_monitoring_exporter.sample.writer import Progress, write


@dataclass(frozen=True, slots=True)
class Generated:
    """How much was written."""

    experiments: int
    runs: int
    points: int


def generate(config: MlflowConfig, *, runs: int, seed: int, progress: Progress) -> Generated:
    """Write ``runs`` demo runs that end now; see :func:`plan` for what is among them.

    An SQLite store that does not exist is made. Repeating it adds runs to the same experiments.
    Raises SourceUnavailableError or SourceRefusedError with one line that says what to do, and
    ValueError for less than one run.
    """
    scenario = plan(runs, seed, now_ms())
    try:
        with connected(config) as client:
            write(client, scenario, progress)
    except SourceResponseError as error:  # what was just created is gone already
        raise SourceRefusedError(str(error)) from None
    return Generated(len(scenario.experiments), len(scenario.runs), scenario.points)
