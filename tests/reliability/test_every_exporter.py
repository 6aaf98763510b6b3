"""Whatever a platform and the network do to it, every exporter that sends delivers all of it in the end, once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.delivery import backoff
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource, SnapshotSource
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.testing import Fault, make_snapshot
from tests.exporters import platforms
from tests.parts.cutting_proxy import CuttingProxy, cutting_proxy
from tests.parts.scaled import scaled

pytestmark = pytest.mark.timeout(600)
PLUGINS = load_plugins()
CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run", {"owner": "me"})

#: What sends over a network; tests of their own are about the file, nobody answers to StatsD, and Prometheus asks.
SENDING: dict[str, tuple[str, Any]] = {
    "pramathus": ("pramathus", platforms.JsonPlatform),
    "http_json": ("http_json", platforms.TemplatePlatform),
    "remote_write": ("remote_write", platforms.RemoteWritePlatform),
    "influx": ("influx", platforms.InfluxPlatform),
    "otlp over http": ("otlp", platforms.OtlpHttpPlatform),
    "otlp over grpc": ("otlp", platforms.OtlpGrpcPlatform),
    "pushgateway": ("pushgateway", platforms.PushgatewayPlatform),
}


def test_no_exporter_is_missing_here() -> None:
    assert {kind for kind, _ in SENDING.values()} == set(PLUGINS) - {"file", "prometheus", "statsd"}


def through(proxy: CuttingProxy, settings: dict[str, Any], url: str) -> dict[str, Any]:
    """The same settings by way of the proxy."""
    port = url.rpartition(":")[2]
    return {
        name: value.replace(f":{port}", f":{proxy.port}") if isinstance(value, str) else value
        for name, value in settings.items()
    }


@contextmanager
def trouble(platform: Any, proxy: CuttingProxy, seed: int) -> Iterator[None]:
    """The platform is unavailable or forgets who we are, again and again, and the network cuts, until the end."""
    dice, over = random.Random(seed), threading.Event()

    def cause() -> None:
        while not over.wait(dice.uniform(0.01, 0.1)):
            platform.suffer(dice.choice([None, None, Fault.UNAVAILABLE, Fault.UNAUTHORIZED]))

    thread = threading.Thread(target=cause)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        platform.suffer(None)
        proxy.nasty = False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "LONGEST", "PARKED"):
        monkeypatch.setattr(backoff, name, 0.02)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", [name for name, (kind, _) in SENDING.items() if kind != "pushgateway"])
def test_every_sample_arrives_whatever_happens(name: str, tmp_path: Path) -> None:
    kind, make_platform = SENDING[name]
    count = scaled(60, 2000)
    database = Database(f"sqlite:///{tmp_path}/state.db")
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    now_ms = time.time_ns() // 1_000_000
    samples = [Sample(CONTEXT, "loss", step, now_ms - count + step, step / 4) for step in range(count)]
    with make_platform() as platform, cutting_proxy(url_of(platform), seed=count) as proxy:
        exporter = create(kind, through(proxy, dict(platform.settings()), url_of(platform)))
        worker = start(exporter, QueueSource(outbox, queue))
        with trouble(platform, proxy, seed=count):
            for at in range(0, count, 4):  # logged while all of it goes on
                with database.write() as tx:
                    outbox.enqueue(tx, queue, samples[at : at + 4], batch_size=2)
                worker.wake()
                time.sleep(0.05)
        wait_for(lambda: outbox.ledger(queue).queued == 0)
        stop(worker)
        assert len(set(platform.received())) == count
        assert proxy.cuts > 0
    ledger = outbox.ledger(queue)
    assert (ledger.delivered, ledger.dead) == (count, 0)
    assert ledger.balanced
    exporter.close()
    database.close()


@pytest.mark.usefixtures("impatient")
def test_a_pushgateway_ends_up_with_the_newest_whatever_happens() -> None:
    with platforms.PushgatewayPlatform() as platform, cutting_proxy(platform.url, seed=1) as proxy:
        exporter = create("pushgateway", through(proxy, dict(platform.settings()), platform.url))
        feed = SnapshotSource()
        worker = start(exporter, feed)
        with trouble(platform, proxy, seed=1):
            for number in range(scaled(40, 1000)):
                newest = make_snapshot(loss=float(number))
                feed.put(newest)
                worker.wake()
                time.sleep(0.05)
        wait_for(lambda: feed.head() is None)
        stop(worker)
        held = lines(platform)
        exporter.close()
        with platforms.PushgatewayPlatform() as untroubled:
            fresh = create("pushgateway", dict(untroubled.settings()))
            fresh.export(newest, deadline=Deadline.after(5))
            assert held == lines(untroubled)
            fresh.close()


def lines(platform: platforms.PushgatewayPlatform) -> list[str]:
    return sorted(line for _, group in platform.groups.values() for line in group)


def url_of(platform: Any) -> str:
    url: str = getattr(platform, "url", None) or platform.receiver.url
    return url


def create(kind: str, settings: dict[str, Any]) -> AnyExporter:
    plugin = PLUGINS[kind]
    exporter: AnyExporter = plugin.create(plugin.config.model_validate({"type": kind, **settings}))
    exporter.start()
    return exporter


def start(exporter: AnyExporter, feed: QueueSource | SnapshotSource) -> Worker:
    readiness = Readiness()
    worker = Worker("sink", exporter, feed, readiness=readiness, metrics=SelfMetrics(readiness))
    threading.Thread(target=worker.run, daemon=True, name="worker").start()
    return worker


def stop(worker: Worker) -> None:
    worker.stop(Deadline.after(5))
    wait_for(lambda: not any(thread.name == "worker" for thread in threading.enumerate()))


def wait_for(condition: Any, within: float = 90.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
