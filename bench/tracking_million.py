"""A million points: what they cost the training, and what sending them costs beside bare requests of such batches."""

from __future__ import annotations

import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import requests

from bench.contest import Timed, contest, report
from mlflow_monitoring_tracking import ExperimentTracker
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.sender import Sender
from tests.parts.mlflow_server import MlflowServer

_KEYS = 10
#: Points of one request, as many as MLflow takes.
_BATCH = 1000


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    points = 100_000 if quick else 1_000_000
    spool = directory / "million"
    shutil.rmtree(spool, ignore_errors=True)
    written = contest({"the training": ("bench.tracking_million:write", str(spool), str(points))}, rounds=1)
    results = [report(f"{points} points into the spool", written, "the training", amount="points")]
    with MlflowServer(directory / "server-million") as server:
        sent = contest(
            {
                "bare requests": ("bench.tracking_million:bare_requests", server.url, str(points)),
                "tracking-spool sync": ("bench.tracking_million:sync", str(spool), server.url, str(points)),
            },
            rounds=1,
        )
    results.append(report(f"{points} points to a tracking server", sent, "bare requests", amount="points"))
    return results


def write(directory: str, points: str) -> Timed:
    """As a training does it, one call for each point."""
    config = {"mode": "offline", "tracking_dir": directory, "auto_log": {"enabled": False}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    with ExperimentTracker(config).start_run("million") as run:
        for number in range(int(points)):
            run.log_metric(f"key_{number % _KEYS}", number / 7, step=number // _KEYS)
    taken = Timed(int(points), time.perf_counter() - wall, time.process_time() - cpu)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory grew by {grown:.1f} MB")
    return taken


def bare_requests(url: str, points: str) -> int:
    """The same values in batches of the same size, over one connection."""
    api, session = f"{url}/api/2.0/mlflow", requests.Session()
    experiment = session.post(f"{api}/experiments/create", json={"name": "bare"}).json()["experiment_id"]
    run = session.post(f"{api}/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]["run_id"]
    now = int(time.time() * 1000)
    for begin in range(0, int(points), _BATCH):
        metrics = [
            {"key": f"key_{n % _KEYS}", "value": n / 7, "step": n // _KEYS, "timestamp": now + n // _KEYS}
            for n in range(begin, min(begin + _BATCH, int(points)))
        ]
        body = json.dumps({"run_id": run, "metrics": metrics}).encode()
        session.post(
            f"{api}/runs/log-batch", data=body, headers={"Content-Type": "application/json"}
        ).raise_for_status()
    return int(points)


def sync(directory: str, url: str, points: str) -> int:
    settings = load({"tracking_dir": directory, "mlflow": {"tracking_uri": url}, "local": {"enabled": False}}, {})
    sender = Sender(Path(directory) / "spool", backends(settings), settings.delivery)
    assert sender.run_once()
    sender.stop(5.0)
    return int(points)
