"""Real programs, other than Prometheus, that take what exporters send: VictoriaMetrics and InfluxDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.parts.programs import free_port, need, running


@dataclass(frozen=True, slots=True)
class VictoriaMetrics:
    url: str

    def raw(self, selector: str) -> dict[frozenset[tuple[str, str]], list[tuple[int, float]]]:
        """Every sample of every series that is selected, by labels: milliseconds and value."""
        requests.get(f"{self.url}/internal/force_flush", timeout=10).raise_for_status()
        lines = requests.get(f"{self.url}/api/v1/export", params={"match[]": selector}, timeout=30).text.splitlines()
        found = [json.loads(line) for line in lines]
        return {
            frozenset(one["metric"].items()): sorted(zip(one["timestamps"], one["values"], strict=True))
            for one in found
        }


@contextmanager
def victoria_metrics(directory: Path) -> Iterator[VictoriaMetrics]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        need("victoria-metrics"),
        f"-storageDataPath={directory / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=50y",
        "-memory.allowedPercent=5",
    ]
    with running(command, log=directory / "victoria-metrics.log", ready_url=f"{url}/health"):
        yield VictoriaMetrics(url)


_INFLUXD = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
"""


@dataclass(frozen=True, slots=True)
class Influx:
    url: str

    def query(self, influxql: str, **params: str) -> list[dict[str, Any]]:
        """The series that answer, each with its tags, columns and values; times are milliseconds."""
        answer = requests.post(f"{self.url}/query", params={"q": influxql, "epoch": "ms", **params}, timeout=30).json()
        (result,) = answer["results"]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series


@contextmanager
def influxdb(directory: Path) -> Iterator[Influx]:
    """InfluxDB 1 with an empty database ``mlflow``."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    settings = directory / "influxdb.conf"
    settings.write_text(_INFLUXD.format(rpc=free_port(), port=port, directory=directory))
    url = f"http://127.0.0.1:{port}"
    with running([need("influxd"), "-config", str(settings)], log=directory / "influxd.log", ready_url=f"{url}/ping"):
        influx = Influx(url)
        influx.query("CREATE DATABASE mlflow")
        yield influx
