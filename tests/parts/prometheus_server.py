"""A real Prometheus that scrapes what a test names."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.parts.programs import free_port, need, running

Answer = list[tuple[Mapping[str, str], float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def query(self, promql: str) -> Answer:
        """Labels and value of each element of an instant vector."""
        response = requests.get(f"{self.url}/api/v1/query", params={"query": promql}, timeout=10).json()
        assert response["status"] == "success", response
        return [(element["metric"], float(element["value"][1])) for element in response["data"]["result"]]

    def over_time(self, promql: str, start: float, end: float, step: float) -> list[float | None]:
        """The values of one series at each step, which is in tenths of a second; None where there is none."""
        params: dict[str, str | float] = {"query": promql, "start": start, "end": end, "step": step}
        response = requests.get(f"{self.url}/api/v1/query_range", params=params, timeout=30).json()
        assert response["status"] == "success", response
        assert len(response["data"]["result"]) <= 1, response
        known = {round(at * 10): float(value) for found in response["data"]["result"] for at, value in found["values"]}
        return [known.get(round((start + number * step) * 10)) for number in range(int((end - start) / step) + 1)]

    def raw(self, selector: str) -> dict[frozenset[tuple[str, str]], list[tuple[int, float]]]:
        """Every sample of every series that is selected, as it is kept, by labels: milliseconds and value."""
        params = {"query": f"{selector}[50y]"}
        response = requests.get(f"{self.url}/api/v1/query", params=params, timeout=30).json()
        assert response["status"] == "success", response
        return {
            frozenset(series["metric"].items()): [(round(at * 1000), float(value)) for at, value in series["values"]]
            for series in response["data"]["result"]
        }

    def wait_for(self, promql: str, satisfied: Callable[[Answer], bool], within: float = 90.0) -> Answer:
        """The first answer that satisfies; the first scrape comes about five seconds after the start."""
        end = time.monotonic() + within
        while True:
            found = self.query(promql)
            if satisfied(found):
                return found
            assert time.monotonic() < end, f"{promql} still answers {found}"
            time.sleep(0.1)


@contextmanager
def prometheus(
    directory: Path,
    targets: Mapping[str, str | Sequence[str]],
    *,
    honor_labels: bool = True,
    scrape: str = "1s",
    receives: str | None = None,
    relabel: Sequence[object] = (),
    limits: Mapping[str, int] | None = None,
) -> Iterator[Prometheus]:
    """``targets`` maps job names to ``host:port``, one or some; each is scraped every ``scrape``.

    ``relabel`` is for metrics, ``limits`` are those of a scrape (``label_limit`` ...).

    With ``receives`` it is a receiver of remote write that takes samples which are so late. Blocks that are in
    ``directory / "tsdb"`` are there from the start.
    """
    jobs = [
        {
            "job_name": job,
            "honor_labels": honor_labels,
            "static_configs": [{"targets": [target] if isinstance(target, str) else list(target)}],
            "metric_relabel_configs": list(relabel),
            **(limits or {}),
        }
        for job, target in targets.items()
    ]
    settings = directory / "prometheus.yml"
    directory.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    tree = {"global": {"scrape_interval": scrape, "scrape_timeout": scrape}, "scrape_configs": jobs}
    if receives is not None:
        tree["storage"] = {"tsdb": {"out_of_order_time_window": receives}}
    settings.write_text(json.dumps(tree))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        need("prometheus"),
        f"--config.file={settings}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=50y",
        *([] if receives is None else ["--web.enable-remote-write-receiver"]),
    ]
    with running(command, log=directory / "prometheus.log", ready_url=f"{url}/-/ready"):
        yield Prometheus(url)
