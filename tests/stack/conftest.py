"""The stack of docker-compose.yml as processes: the shipped files, with addresses and intervals of this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from mlflow_monitoring_exporter.sample.production import Production
from tests.docs.pages import ROOT
from tests.parts.bad_server import BadServer, Received, answer, bad_server
from tests.parts.command import Daemon, continuous, run
from tests.parts.programs import free_port, need, running
from tests.parts.prometheus_server import Prometheus
from tests.parts.pushgateway import Pushgateway, pushgateway

#: Instead of 15 s, and of 5 s for rules: tests wait for several scrapes. Everything else is as shipped.
INTERVAL = "2s"
RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
CONFIG = """
mlflow: {public_url: "https://mlflow.example.com"}
links: {grafana: "https://grafana.example.com", runbooks: "https://docs.example.com/alerts.md"}
gauges: {stalled_after: 15s}
tracking: {spool_dir: spool}
exporters: {prometheus: {}, file: {}, pushgateway: {gateway: %(gateway)s}}
alerts:
  sample accuracy: {metric: accuracy, experiments: [churn-classifier], above: 0, severity: info, action: webhook}
notifications:
  slack: {webhook_url_file: "%(here)s/secrets/slack_url", channel: "#mlflow"}
  webhook: {url: "%(mail)s/webhook", token_file: secrets/webhook_token, severities: [warning]}
"""


@dataclass(frozen=True, slots=True)
class Stack:
    store: Path
    daemon: Daemon
    pushgateway: Pushgateway
    prometheus: Prometheus
    inbox: BadServer

    def sent(self, path: str) -> list[Received]:
        """What webhooks were sent to ``path``."""
        return [request for request in list(self.inbox.requests) if request.path == path]

    def alerts(self, path: str, name: str) -> list[Any]:
        """The alerts of this name that Alertmanager sent to ``path`` in its own format."""
        bodies = [json.loads(request.body) for request in self.sent(path)]
        return [alert for body in bodies for alert in body["alerts"] if alert["labels"]["alertname"] == name]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything is up, and Prometheus has scraped it several times over the sample data."""
    here = tmp_path_factory.mktemp("stack")
    need("prometheus")
    need("prometheus-alertmanager")
    with pushgateway(here) as gateway, bad_server(answer(200, body=b"ok")) as mail, ExitStack() as opened:
        (here / "secrets").mkdir()
        (here / "secrets" / "slack_url").write_text(f"{mail.url}/slack")
        (here / "secrets" / "webhook_token").write_text("planted-secret")
        (here / "config.yaml").write_text(CONFIG % {"gateway": gateway.url, "mail": mail.url, "here": here})
        assert run("generate-sample", "--production", cwd=here).code == 0
        opened.enter_context(predicting(here / "spool"))
        generate = ("prometheus", "rules", "generate", "--to", "alerts.yml", "--alertmanager", "alertmanager.yml")
        assert run(*generate, cwd=here).code == 0
        alerting = opened.enter_context(alertmanager(here / "alertmanager.yml"))
        with continuous("--interval", "1s", cwd=here) as daemon:
            targets = {
                "mlflow-exporter": daemon.url.removeprefix("http://"),
                "pushgateway": gateway.address,
                "alertmanager": alerting,
            }
            with prometheus_as_shipped(here / "prometheus", targets, here / "alerts.yml") as prometheus:
                started = Stack(here / "mlflow.db", daemon, gateway, prometheus, mail)
                for job in ("mlflow-exporter", "mlflow_metrics"):
                    often = f'count_over_time(mlflow_experiment_runs{{job="{job}",status="RUNNING"}}[1m]) > 4'
                    prometheus.wait_for(often, bool, within=90)
                prometheus.wait_for('ALERTS{alertname="MlflowRunStalled"}', bool)
                prometheus.wait_for("mlflow_deployment_feature_drift_score", bool)
                prometheus.wait_for('mlflow_deployment_info{status="FINISHED"}', bool)
                yield started


@contextmanager
def predicting(spool: Path) -> Iterator[None]:
    """A program that serves a model, all the time."""
    stop = threading.Event()
    serving = threading.Thread(
        target=Production(spool, 2, window=1.0).run_live, args=(stop, lambda _line: None), daemon=True
    )
    serving.start()
    try:
        yield
    finally:
        stop.set()
        serving.join()


def hurried(rules: Path, directory: Path) -> Path:
    """A copy of a file of rules whose groups are evaluated as often as Prometheus scrapes."""
    tree = yaml.safe_load(rules.read_text())
    for group in tree["groups"]:
        group.pop("interval", None)
    copy = directory / f"rules-{rules.name}"
    copy.write_text(json.dumps(tree))
    return copy


def shipped(name: str, change: Callable[[Any], None], to: Path) -> Path:
    """A shipped YAML file with changes, written to ``to``."""
    tree = yaml.safe_load((ROOT / name).read_text())
    change(tree)
    to.write_text(json.dumps(tree))  # JSON is YAML
    return to


@contextmanager
def prometheus_as_shipped(directory: Path, targets: Mapping[str, str], rules: Path) -> Iterator[Prometheus]:
    """prometheus/prometheus.yml and prometheus/rules, with the targets of this machine by job."""
    address = f"127.0.0.1:{free_port()}"
    targets = {**targets, "prometheus": address}
    directory.mkdir(parents=True, exist_ok=True)

    def change(tree: Any) -> None:
        tree["global"] = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
        tree["rule_files"] = [str(hurried(file, directory)) for file in (*RULES, rules)]
        tree["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [targets["alertmanager"]]}]}]
        assert {job["job_name"] for job in tree["scrape_configs"]} == targets.keys()
        for job in tree["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]

    settings = shipped("prometheus/prometheus.yml", change, directory / "prometheus.yml")
    arguments = [f"--config.file={settings}", f"--storage.tsdb.path={directory}", f"--web.listen-address={address}"]
    command = [need("prometheus"), *arguments]
    with running(command, log=directory / "prometheus.log", ready_url=f"http://{address}/-/ready"):
        yield Prometheus(f"http://{address}")


@contextmanager
def alertmanager(settings: Path) -> Iterator[str]:
    """Alertmanager with this configuration; its address."""
    directory, address = settings.parent, f"127.0.0.1:{free_port()}"
    arguments = [f"--config.file={settings}", f"--storage.path={directory / 'alerting'}", "--cluster.listen-address="]
    command = [need("prometheus-alertmanager"), *arguments, f"--web.listen-address={address}"]
    with running(command, log=directory / "alertmanager.log", ready_url=f"http://{address}/-/ready"):
        yield address


def api(prometheus: Prometheus, path: str, **params: str) -> Any:
    """The data of one answer of Prometheus' API."""
    answer = requests.get(f"{prometheus.url}/api/v1/{path}", params=params, timeout=20).json()
    assert answer["status"] == "success", (params, answer)
    return answer["data"]
