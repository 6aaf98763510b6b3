"""A real Pushgateway, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.programs import free_port, need, running


@dataclass(frozen=True, slots=True)
class Pushgateway:
    url: str

    @property
    def address(self) -> str:
        """``host:port``"""
        return self.url.removeprefix("http://")

    def text(self) -> str:
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def series(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Name, labels and value of every metric of a run; aggregates and all else are left out."""
        families = text_string_to_metric_families(self.text())
        return [
            (sample.name, sample.labels, float(sample.value))
            for family in families
            for sample in family.samples
            if sample.name.startswith("mlflow_") and not sample.name.startswith(("mlflow_experiment_", "mlflow_model_"))
            if "metric" in sample.labels
        ]

    def groups(self) -> list[Mapping[str, str]]:
        """The labels of every group."""
        answer: Any = requests.get(f"{self.url}/api/v1/metrics", timeout=10).json()
        return [group["labels"] for group in answer["data"]]

    def pushed(self) -> list[tuple[Mapping[str, str], float]]:
        """The labels of every group, and when it was pushed last, in Unix seconds."""
        answer: Any = requests.get(f"{self.url}/api/v1/metrics", timeout=10).json()
        return [(g["labels"], float(g["push_time_seconds"]["metrics"][0]["value"])) for g in answer["data"]]

    def clear(self) -> None:
        """Delete every group."""
        assert requests.put(f"{self.url}/api/v1/admin/wipe", timeout=10).status_code == 202
        while self.groups():
            pass


@contextmanager
def pushgateway(directory: Path) -> Iterator[Pushgateway]:
    """On a free port of 127.0.0.1; its log is in ``directory``."""
    with pushgateway_at(free_port(), directory) as started:
        yield started


@contextmanager
def pushgateway_at(port: int, directory: Path) -> Iterator[Pushgateway]:
    """On this port; it begins empty."""
    url = f"http://127.0.0.1:{port}"
    command = [need("prometheus-pushgateway"), f"--web.listen-address=127.0.0.1:{port}", "--web.enable-admin-api"]
    with running(command, log=directory / "pushgateway.log", ready_url=f"{url}/-/ready"):
        yield Pushgateway(url)
