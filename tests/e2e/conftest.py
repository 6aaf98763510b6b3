"""One MLflow, one Pushgateway and one Prometheus for all tests of the whole product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.parts.mlflow_server import MlflowServer
from tests.parts.prometheus_server import Prometheus, prometheus
from tests.parts.pushgateway import Pushgateway, pushgateway

#: An experiment's name may be anything.
ODD_NAME = 'quoted "name" \\ with\nnewline and 🚀'
#: Keys that MLflow accepts; several sanitise alike.
ODD_VALUES: Mapping[str, float] = {
    "val/acc": 0.25,
    "val acc": 0.5,
    "val.acc": 0.75,
    "val_acc": 1.0,
    "ключ": 2.0,
    "精度/テスト": 3.0,
    "a: b.c-d/e": 4.0,
    "up": 5.0,
    "exporter_build_info": 6.0,
    "9lives": 7.0,
    "not a number": math.nan,
    "above": math.inf,
    "below": -math.inf,
    "tiny": 5e-324,
}


class Tracking:
    """MLflow as these tests fill it, and the truth about it in MLflow's own words."""

    def __init__(self, server: MlflowServer) -> None:
        self.server = server

    @property
    def url(self) -> str:
        return self.server.url

    def experiment(self, name: str) -> str:
        return str(self.server.post("experiments/create", {"name": name})["experiment_id"])

    def run(self, experiment_id: str, **tags: str) -> str:
        body = {
            "experiment_id": experiment_id,
            "start_time": 1_790_000_000_000,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return str(self.server.post("runs/create", body)["run"]["info"]["run_id"])

    def log(self, run_id: str, key: str, steps: range, *, start_ms: int = 1_790_000_000_000) -> None:
        """One point per step; its value says which step it was."""
        for first in range(steps.start, steps.stop, 1000):
            points = [
                {"key": key, "value": step / 8, "timestamp": start_ms + step, "step": step}
                for step in range(first, min(first + 1000, steps.stop))
            ]
            self.server.post("runs/log-batch", {"run_id": run_id, "metrics": points})

    def log_values(self, run_id: str, values: Mapping[str, float]) -> None:
        points = [
            {"key": key, "value": _spelled(value), "timestamp": 1_790_000_000_000, "step": 0}
            for key, value in values.items()
        ]
        self.server.post("runs/log-batch", {"run_id": run_id, "metrics": points})

    def latest(self, name: str) -> dict[tuple[str, str], float]:
        """MLflow's own answer: ``(run id, key) -> value`` of one experiment."""
        found = self.server.post("experiments/search", {"max_results": 1000})["experiments"]
        ids = [item["experiment_id"] for item in found if item["name"] == name]
        answer = self.server.post("runs/search", {"experiment_ids": ids, "max_results": 1000})
        return {
            (run["info"]["run_id"], metric["key"]): _unspelled(metric["value"])
            for run in answer.get("runs", [])
            for metric in run["data"].get("metrics", [])
        }

    def names(self) -> list[str]:
        found = self.server.post("experiments/search", {"max_results": 1000})["experiments"]
        return [item["name"] for item in found]


def _spelled(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _unspelled(value: Any) -> float:
    number = float(value)
    return math.copysign(math.inf, number) if abs(number) >= 1.7976931348623157e308 else number


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    with MlflowServer(tmp_path_factory.mktemp("e2e-mlflow")) as server:
        yield Tracking(server)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushgateway]:
    with pushgateway(tmp_path_factory.mktemp("e2e-gateway")) as running:
        yield running


@pytest.fixture(scope="session")
def monitoring(gateway: Pushgateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the Pushgateway."""
    with prometheus(tmp_path_factory.mktemp("e2e-prometheus"), {"pushgateway": gateway.address}) as running:
        yield running
