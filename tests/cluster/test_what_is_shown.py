"""What Prometheus and the Pushgateway see of many replicas is what they would see of one."""

from __future__ import annotations

import os
import signal
import time
from itertools import groupby
from pathlib import Path

import pytest
import requests
import yaml

from tests.cluster.conftest import LEASE, Replicas
from tests.parts.growing_store import Store
from tests.parts.prometheus_server import prometheus
from tests.parts.pushgateway import pushgateway

pytestmark = pytest.mark.timeout(300)

#: Seconds. As far from the lease as the defaults are from each other.
SCRAPE = 4
SHIPPED = Path(__file__).parents[2] / "prometheus" / "prometheus.yml"


def relabelling() -> list[object]:
    """What the shipped configuration does to the exporter's metrics."""
    (job,) = (j for j in yaml.safe_load(SHIPPED.read_text())["scrape_configs"] if j["job_name"] == "mlflow-exporter")
    found: list[object] = job["metric_relabel_configs"]
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "mlflow.db", experiments=3, runs=2)
    store.log(5)
    return store


def test_prometheus_never_sees_a_series_twice_and_hardly_misses_one(
    replicas: Replicas, store: Store, tmp_path: Path
) -> None:
    replicas.environment = {**replicas.environment, "MLFLOW_TRACKING_URI": store.uri}
    for _ in range(3):
        replicas.start()
    targets = [daemon.url.removeprefix("http://") for daemon in replicas.running]
    with prometheus(
        tmp_path / "prometheus",
        {"mlflow-exporter": targets},
        honor_labels=False,
        scrape=f"{SCRAPE}s",
        relabel=relabelling(),
    ) as running:
        running.wait_for("count(mlflow_loss)", lambda found: [value for _, value in found] == [6.0])
        began = round(time.time(), 1)
        time.sleep(SCRAPE)

        first = replicas.owner()
        assert first is not None
        replicas.kill(first)
        replicas.wait_for(lambda: replicas.owner() is not None)
        time.sleep(2 * SCRAPE)

        frozen = replicas.owner()
        assert frozen is not None
        os.kill(frozen.process.pid, signal.SIGSTOP)
        replicas.running.remove(frozen)
        replicas.wait_for(lambda: replicas.owner() is not None)
        time.sleep(LEASE)
        os.kill(frozen.process.pid, signal.SIGCONT)
        replicas.running.append(frozen)
        time.sleep(2 * SCRAPE)

        last = replicas.owner()
        assert last is not None
        assert last.stop() == 0
        replicas.running.remove(last)
        replicas.wait_for(lambda: replicas.owner() is not None)
        time.sleep(2 * SCRAPE)

        ended = round(time.time(), 1)
        same = "max(count by (__name__, run_id, metric) ({__name__=~'mlflow_.*', run_id!='', metric!=''}))"
        seen = running.over_time(same, began, ended, 0.5)
        assert set(seen) - {None} == {1.0}, "nothing is there twice at any instant"
        there = running.over_time("count(mlflow_loss)", began, ended, 0.5)
        assert set(there) - {None} == {6.0}, "all of them, or none"
        gaps = [0.5 * len([*group]) for value, group in groupby(there) if value is None]
        assert max(gaps, default=0.0) <= 2 * SCRAPE, gaps
        # What each says of itself is told apart, and nothing has a label that only helped to do so.
        assert all("instance" in labels for labels, _ in running.query("mlflow_exporter_replicas"))
        everything = running.query('{job="mlflow-exporter"}')
        assert len(everything) > 100
        assert not [label for labels, _ in everything for label in labels if label.startswith("__tmp")]


def test_a_pushgateway_has_one_owner_at_a_time(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    with pushgateway(tmp_path / "pushgateway") as gateway:
        replicas.environment = {
            **replicas.environment,
            "MLFLOW_TRACKING_URI": store.uri,
            "PROMETHEUS_GATEWAY": gateway.url.removeprefix("http://"),
        }
        for _ in range(3):
            replicas.start()

        def held() -> int:
            return requests.get(f"{gateway.url}/metrics", timeout=30).text.count("\nmlflow_loss{")

        replicas.wait_for(lambda: held() == 6)
        frozen = replicas.owner()
        assert frozen is not None
        os.kill(frozen.process.pid, signal.SIGSTOP)
        replicas.running.remove(frozen)
        replicas.wait_for(lambda: replicas.owner() is not None)
        os.kill(frozen.process.pid, signal.SIGCONT)
        replicas.running.append(frozen)
        end = time.monotonic() + 2 * LEASE
        while time.monotonic() < end:
            assert held() == 6, "nobody deletes what another one shows"
            time.sleep(0.1)
