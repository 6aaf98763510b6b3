"""One store with a written scenario, and one real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.sample.generate import Generated, generate
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from mlflow_monitoring_exporter.transform.model_versions import stages_by_run
from tests.parts.mlflow_server import MlflowServer


@dataclass(frozen=True)
class Filled:
    """A store that :func:`generate` made and filled."""

    config: MlflowConfig
    generated: Generated
    progress: list[tuple[int, int]]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Tests leave it as it is."""
    path = tmp_path_factory.mktemp("sample") / "not" / "yet" / "there.db"
    return fill(MlflowConfig(tracking_uri=f"sqlite:///{path}"), runs=24)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("tracking")) as server:
        yield server


@pytest.fixture
def sqlite(tmp_path: Path) -> MlflowConfig:
    """A store that does not exist yet."""
    return MlflowConfig(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def fill(config: MlflowConfig, *, runs: int, seed: int = 7) -> Filled:
    progress: list[tuple[int, int]] = []
    generated = generate(config, runs=runs, seed=seed, progress=lambda done, total: progress.append((done, total)))
    return Filled(config, generated, progress)


def read(config: MlflowConfig) -> tuple[dict[str, str], list[Run], dict[str, str]]:
    """Experiment names by id, runs, and registry aliases by run id, as the daemon's reader sees them."""
    source: Source = SqlSource(config)
    try:
        experiments = {experiment.experiment_id: experiment.name for experiment in source.experiments()}
        runs = [run for page in source.runs(list(experiments)) for run in page.runs]
        return experiments, runs, dict(stages_by_run(source.registry()))
    finally:
        source.close()
