"""Contestants that deliver a backlog; each answers with the number of samples."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import requests

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource
from mlflow_monitoring_exporter.delivery.worker import Worker
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.exporters.record import iso_utc
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_CONFIGS: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "pramathus": lambda url: {"endpoint": url, "api_key": "key"},
    "remote_write": lambda url: {"url": url},
    "otlp": lambda url: {"endpoint": url, "protocol": "http"},
    "influx": lambda url: {"url": url, "org": "o", "bucket": "b", "token": "t"},
    "file": lambda _: {"path": "drained.jsonl", "max_size": "100GB"},
}


def bare_posts(full: str, url: str) -> int:
    """Read, encode, post; nothing is retried, acknowledged or durable."""
    count = 0
    session = requests.Session()
    database = Database(f"sqlite:///{full}")
    with database.read() as tx:
        rows = tx.exec_driver_sql("SELECT batch_id, created_ms, payload FROM outbox ORDER BY id")
        for identity, created_ms, payload in rows:
            batch = orjson.loads(payload)
            runs = batch["runs"]
            body = {
                "timestamp": iso_utc(created_ms),
                "source": "mlflow",
                "metrics": [
                    {
                        "name": key,
                        "value": value,
                        "timestamp": iso_utc(timestamp_ms),
                        "metadata": {
                            "run_id": runs[run][3],
                            "experiment_name": runs[run][2],
                            "step": step,
                            "tags": runs[run][5],
                        },
                    }
                    for run, key, step, timestamp_ms, value in batch["samples"]
                ],
            }
            headers = {"Content-Type": "application/json", "Idempotency-Key": identity}
            session.post(url, data=orjson.dumps(body), headers=headers, timeout=10).raise_for_status()
            count += len(batch["samples"])
    database.close()
    return count


def ours(full: str, url: str, kind: str) -> int:
    """The worker, the outbox and the exporter of this kind, each batch acknowledged and synced."""
    with tempfile.TemporaryDirectory(dir=Path(full).resolve().parent) as directory:
        copy = shutil.copy(full, Path(directory) / "state.db")
        os.chdir(directory)  # what is written there goes with it
        database = Database(f"sqlite:///{copy}")
        outbox = Outbox(database)
        plugin = load_plugins()[kind]
        exporter = plugin.create(plugin.config.model_validate({**_CONFIGS[kind](url), "type": kind}))
        exporter.start()
        readiness = Readiness()
        feed = QueueSource(outbox, outbox.register(["sink"])["sink"])
        worker = Worker("sink", exporter, feed, readiness=readiness, metrics=SelfMetrics(readiness))
        drained = worker.drain(Deadline.after(600), attempts=1)
        assert drained.error is None, drained.error
        exporter.close()
        database.close()
    return drained.delivered
