"""Exactly the right messages: two servers, two ways in, restarts and first starts without MLflow, a run that diverges.

With the real Prometheus and Alertmanager, the shipped rules, and a receiver that keeps every message.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected
from mlflow_monitoring_tracking import ProductionTracker
from tests.parts.bad_server import BadServer, answer, bad_server
from tests.parts.command import Background, background, run
from tests.parts.programs import free_port
from tests.parts.prometheus_server import Prometheus
from tests.parts.pushgateway import pushgateway
from tests.stack.conftest import alertmanager, prometheus_as_shipped

#: Everything is told at once, and what is over, too.
NOTIFICATIONS = {"group_wait": "1s", "group_interval": "2s", "repeat_interval": "1h"}


def experiment(path: Path, accuracy: float) -> str:
    """A store with one experiment, churn, of one finished run; its address."""
    uri = f"sqlite:///{path}"
    with connected(MlflowConfig(tracking_uri=uri)) as client:
        run_id = client.create_run(client.create_experiment("churn")).info.run_id
        client.log_metric(run_id, "accuracy", accuracy)
        client.set_terminated(run_id)
    return uri


@dataclass
class World:
    """A daemon that is started and stopped, what watches it, and what was told."""

    here: Path
    inbox: BadServer
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    def configure(self, servers: Any, *, gateway: str = "", alerts: Any = None, tracking: Any = None) -> None:
        webhook = {"url": f"{self.inbox.url}/told", "severities": ["info", "warning", "critical"]}
        config = {
            "mlflow": servers,
            "web": {"listen": self.listen},
            "export": {"interval": "1s"},
            "exporters": {"prometheus": {}, **({"pushgateway": {"gateway": gateway}} if gateway else {})},
            "alerts": alerts or {},
            "tracking": tracking or {},
            "notifications": {"webhook": webhook, **NOTIFICATIONS},
        }
        (self.here / "config.yaml").write_text(json.dumps(config))
        write = ("prometheus", "rules", "generate", "--to", "alerts.yml", "--alertmanager", "alertmanager.yml")
        assert run(*write, cwd=self.here).code == 0

    @contextmanager
    def watched(self, gateway: str = "127.0.0.1:9") -> Iterator[Prometheus]:
        with ExitStack() as opened:
            alerting = opened.enter_context(alertmanager(self.here / "alertmanager.yml"))
            targets = {"mlflow-exporter": self.listen, "pushgateway": gateway, "alertmanager": alerting}
            yield opened.enter_context(
                prometheus_as_shipped(self.here / "prometheus", targets, self.here / "alerts.yml")
            )

    def daemon(self) -> Any:
        return background("continuous", cwd=self.here)

    def told(self) -> list[tuple[str, str, str]]:
        """Name, tracking server and status of every alert in every message, in their order."""
        return [
            (alert["labels"]["alertname"], alert["labels"].get("server", ""), alert["status"])
            for request in list(self.inbox.requests)
            for alert in json.loads(request.body)["alerts"]
        ]

    def wait_for(self, question: Callable[[], bool], within: float = 90.0) -> None:
        end = time.monotonic() + within
        while not question():
            assert time.monotonic() < end, self.told()
            time.sleep(0.1)

    def is_quiet(self, daemon: Background, prometheus: Prometheus, evaluations: int = 4) -> None:
        """Every rule was evaluated some more times, and what that fired had time to be sent."""
        count = "sum(prometheus_rule_group_iterations_total)"  # there once Prometheus has scraped itself
        ((_, before),) = prometheus.wait_for(count, bool)
        groups = len(prometheus.wait_for("prometheus_rule_group_iterations_total", bool))
        prometheus.wait_for(count, lambda found: bool(found) and found[0][1] >= before + groups * evaluations / 2)
        time.sleep(4)  # group_wait and group_interval, and some
        assert daemon.process.poll() is None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with bad_server(answer(200, body=b"ok")) as inbox:
        yield World(tmp_path, inbox)


def test_the_worse_of_two_servers_is_told_whichever_way_it_comes(world: World) -> None:
    """And stays told, once, while the daemon starts again and both servers are away."""
    stores = {name: world.here / f"{name}.db" for name in "ab"}
    servers = [
        {"name": name, "tracking_uri": experiment(path, value)}
        for (name, path), value in zip(stores.items(), (0.95, 0.5), strict=True)
    ]
    with pushgateway(world.here / "gateway") as gateway:
        world.configure(servers, gateway=gateway.url, alerts={"low": {"metric": "accuracy", "below": 0.8}})
        with world.watched(gateway.address) as prometheus:
            with world.daemon() as daemon:
                world.wait_for(lambda: bool(world.told()))
                world.is_quiet(daemon, prometheus)
                assert world.told() == [("low", "b", "firing")]
                assert daemon.stop() == 0
            for path in stores.values():
                path.rename(path.with_suffix(".away"))
            with world.daemon() as daemon:
                prometheus.wait_for('mlflow_accuracy{job="mlflow-exporter"}', lambda found: len(found) == 2)
                world.is_quiet(daemon, prometheus)
                ages = prometheus.wait_for(
                    "time() - mlflow_exporter_last_poll_success_timestamp_seconds", lambda found: len(found) == 2
                )
                assert {labels["server"] for labels, _ in ages} == {"a", "b"}
                assert all(1 < age < 300 for _, age in ages), "that of the poll before"
                prometheus.wait_for(
                    "mlflow_exporter_ready{component=~'mlflow[.].'} == 0", lambda found: len(found) == 2
                )
                assert world.told() == [("low", "b", "firing")]
                daemon.stop()


def test_a_first_start_without_mlflow_sends_no_notification_and_claims_nothing(world: World) -> None:
    world.configure({"tracking_uri": "http://127.0.0.1:9"})
    with world.watched() as prometheus, world.daemon() as daemon:
        prometheus.wait_for("mlflow_exporter_polls_total{result='failed'} > 2", bool)
        world.is_quiet(daemon, prometheus)
        assert world.told() == []
        for unknown in ("last_poll_success_timestamp_seconds", "experiments", "runs", "series"):
            assert prometheus.query(f"mlflow_exporter_{unknown}") == [], f"0 would be a claim: {unknown}"
        daemon.stop()


def test_a_run_that_diverges_and_then_fails_is_told_once_for_each(world: World) -> None:
    uri = f"sqlite:///{world.here}/mlflow.db"
    with connected(MlflowConfig(tracking_uri=uri)) as client:
        run_id = client.create_run(client.create_experiment("churn")).info.run_id
        client.log_metric(run_id, "loss", 0.5)
    world.configure({"tracking_uri": uri})
    with world.watched() as prometheus, world.daemon() as daemon:
        prometheus.wait_for('mlflow_loss{job="mlflow-exporter"}', bool)
        client.log_metric(run_id, "loss", float("nan"), step=1)
        world.wait_for(lambda: bool(world.told()))
        client.set_terminated(run_id, "FAILED")
        world.wait_for(lambda: len(world.told()) > 1)
        world.is_quiet(daemon, prometheus)
        assert world.told() == [("MlflowRunNonFinite", "", "firing"), ("MlflowRunFailed", "", "firing")]
        daemon.stop()


def test_slow_predictions_are_told_within_a_minute_and_once(world: World) -> None:
    spool = world.here / "spool"
    world.configure({"tracking_uri": experiment(world.here / "mlflow.db", 0.9)}, tracking={"spool_dir": str(spool)})
    tracker = ProductionTracker({"spool": {"dir": str(spool)}, "mode": "offline"}, window=1.0)
    tracker.start_production_monitoring("pricing", "prod")
    latency, ended = [10.0], threading.Event()

    def serve() -> None:
        while not ended.wait(0.05):
            tracker.log_prediction(deployment_id="prod", prediction=True, latency_ms=latency[0])

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        with world.watched() as prometheus, world.daemon() as daemon:
            prometheus.wait_for("deployment:mlflow_deployment_prediction_latency_seconds:p95 < 1", bool)
            latency[0] = 3000.0
            world.wait_for(lambda: bool(world.told()), within=60)
            world.is_quiet(daemon, prometheus)
            assert world.told() == [("MlflowDeploymentSlow", "", "firing")]
            daemon.stop()
    finally:
        ended.set()
        serving.join()
        tracker.stop()
