"""One sample store, exported once to every platform at the same time; each test asks one of them what it has."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from tests.parts.command import run
from tests.parts.otlp_receiver import Receiver, over_grpc, over_http
from tests.parts.prometheus_server import Prometheus, prometheus
from tests.parts.receivers import Influx, VictoriaMetrics, influxdb, victoria_metrics
from tests.sample.conftest import fill


class Row(NamedTuple):
    """A logged point, as MLflow's own database has it."""

    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True)
class SampleStore:
    uri: str
    path: Path

    def truth(self) -> dict[tuple[str, str], list[Row]]:
        """Every point by run id and key, in the order of time."""
        found: dict[tuple[str, str], list[Row]] = {}
        with sqlite3.connect(self.path) as database:
            query = "SELECT run_uuid, key, step, timestamp, value, is_nan FROM metrics ORDER BY timestamp, step"
            for run_id, key, step, timestamp_ms, value, is_nan in database.execute(query):
                found.setdefault((run_id, key), []).append(Row(step, timestamp_ms, math.nan if is_nan else value))
        return found

    def names(self) -> dict[str, str]:
        """The experiment's name of each run."""
        with sqlite3.connect(self.path) as database:
            return dict(
                database.execute(
                    "SELECT run_uuid, e.name FROM runs JOIN experiments e USING (experiment_id)"
                ).fetchall()
            )


@dataclass(frozen=True)
class Platforms:
    """Real programs, and receivers made from official stubs, that have everything of ``store``."""

    store: SampleStore
    prometheus: Prometheus
    victoria_metrics: VictoriaMetrics
    influx: Influx
    otlp_http: Receiver
    otlp_grpc: Receiver
    report: Mapping[str, object]


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> SampleStore:
    path = tmp_path_factory.mktemp("platforms") / "mlflow.db"
    fill(MlflowConfig(tracking_uri=f"sqlite:///{path}"), runs=24)
    return SampleStore(f"sqlite:///{path}", path)


@pytest.fixture(scope="session")
def platforms(sample_store: SampleStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platforms]:
    here = tmp_path_factory.mktemp("platforms")
    with ExitStack() as stack:
        receiver = stack.enter_context(prometheus(here / "prometheus", {}, receives="10y"))
        victoria = stack.enter_context(victoria_metrics(here / "victoria"))
        influx = stack.enter_context(influxdb(here / "influx"))
        http, grpc = stack.enter_context(over_http()), stack.enter_context(over_grpc())
        exporters = {
            "prometheus": {"type": "remote_write", "url": f"{receiver.url}/api/v1/write", "labels": {"cluster": "a"}},
            "victoria": {"type": "remote_write", "url": f"{victoria.url}/api/v1/write"},
            "influx": {"type": "influx", "url": influx.url, "database": "mlflow"},
            "otlp_http": {"type": "otlp", "endpoint": http.url, "resource": {"deployment.environment": "test"}},
            "otlp_grpc": {"type": "otlp", "endpoint": grpc.url, "protocol": "grpc", "step": False},
        }
        (here / "config.yaml").write_text(
            json.dumps(
                {
                    "mlflow": {"tracking_uri": sample_store.uri},
                    "export": {"max_experiments": 0},
                    "exporters": exporters,
                }
            )
        )
        done = run("export-once", "--output", "json", cwd=here)
        assert done.code == 0, done.out + done.err
        yield Platforms(sample_store, receiver, victoria, influx, http, grpc, json.loads(done.out))
