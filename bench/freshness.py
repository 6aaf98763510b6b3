"""How long from ``log_metric`` in MLflow until Prometheus answers with the value, however many runs there are?

All parts are real: a tracking server with one worker, the daemon, and a Prometheus that scrapes it. A
value waits for the next poll, which must end, and for the next scrape; two seconds more are allowed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from bench.polling import readdress
from bench.polls import stood
from bench.store import Size, store
from tests.parts.command import Daemon, continuous
from tests.parts.mlflow_server import MlflowServer
from tests.parts.prometheus_server import Prometheus, prometheus

_INTERVAL, _SCRAPE, _ALLOWED = 5, 5, 2
_ROUNDS = 12


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the worst as a share of what is allowed; ``quick`` is a tenth of the runs."""
    runs = 10_000 if quick else 100_000
    path = store(directory, Size(runs))
    here = directory / "freshness"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    live = Path(shutil.copy(path, here / "live.db")).resolve()
    how_often = f"polled every {_INTERVAL} s, scraped every {_SCRAPE} s"
    print(f"\nfrom log_metric to the answer of Prometheus, {runs} runs, {how_often}")
    print(f"  {'':<34}{'ratio':>8}{'worst s':>9}{'median s':>10}{'allowed s':>11}")
    results = {}
    with MlflowServer(here, database=live) as server:
        for way, uri in (("over REST", server.url), ("from the database", f"sqlite:///{live}")):
            state = Path(shutil.copy(stood(directory, path), here / f"state-{way[:4]}.db")).resolve()
            readdress(state, uri)
            taken = _times(here / way.replace(" ", "-"), uri, state, server)
            allowed = _INTERVAL + _SCRAPE + _ALLOWED
            worst, median = max(taken), statistics.median(taken)
            print(f"  {way:<34}{worst / allowed:>8.2f}{worst:>9.2f}{median:>10.2f}{allowed:>11}", flush=True)
            results[way] = {"ratio": worst / allowed, "worst": worst, "median": median, "amount": len(taken)}
            if worst > allowed:
                raise AssertionError(f"{way}: {worst:.2f} s is more than the {allowed} s that are allowed")
    return [{"title": "from log_metric to Prometheus", "yardstick": "allowed", "amount": "values", "results": results}]


def _times(here: Path, uri: str, state: Path, server: MlflowServer) -> list[float]:
    here.mkdir()
    arguments = ("--tracking-uri", uri, "--interval", f"{_INTERVAL}s", "--max-experiments", "0")
    settings = ("--set", f"state.url=sqlite:///{state}", "--set", "exporters.file.enabled=false")
    with continuous(*arguments, *settings, cwd=here) as daemon:
        target = {"mlflow-exporter": daemon.url.removeprefix("http://")}
        daemon.wait_for(lambda: "mlflow_experiment_runs" in daemon.get("metrics").text, within=300)
        with prometheus(here / "prometheus", target, scrape=f"{_SCRAPE}s") as seen:
            return [_one(number, seen, server, daemon) for number in range(_ROUNDS)]


def _one(number: int, seen: Prometheus, server: MlflowServer, daemon: Daemon) -> float:
    """Seconds until a value that was logged at a moment nobody planned is answered."""
    time.sleep(random.uniform(0, _INTERVAL))
    everywhere = [str(experiment) for experiment in range(Size(0).experiments + 1)]
    (run, *_) = server.post("runs/search", {"experiment_ids": everywhere, "filter": "status = 'RUNNING'"})["runs"]
    value = number + 0.5
    began = time.monotonic()
    moment = time.time_ns() // 1_000_000
    point = {"key": "fresh", "value": value, "timestamp": moment, "step": moment}
    server.post("runs/log-metric", {"run_id": run["info"]["run_id"], **point})
    while [found for _, found in seen.query("mlflow_fresh")] != [value]:
        time.sleep(0.02)
        assert time.monotonic() < began + 60, daemon.log.read_text()[-2000:]
    return time.monotonic() - began
