#!/usr/bin/env python3
"""Bring the Compose stack up, fill it with sample runs, and see whether all of it works: `make check-stack`.

::

    up -> everything healthy -> generate-sample -> Prometheus answers with MLflow's values, by both ways

Needs nothing but Docker with Compose v2 and Python 3.11. Another program that takes the same arguments is named
in the variable COMPOSE (COMPOSE="podman-compose"). The stack stays up; `docker compose down -v` ends it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = shlex.split(os.environ.get("COMPOSE", "docker compose"))
MLFLOW, PROMETHEUS = "http://127.0.0.1:5000", "http://127.0.0.1:9090"
PAGES = {
    "mlflow": f"{MLFLOW}/health",
    "pushgateway": "http://127.0.0.1:9091/-/ready",
    "prometheus": f"{PROMETHEUS}/-/ready",
    "alertmanager": "http://127.0.0.1:9093/-/ready",
    "grafana": "http://127.0.0.1:3000/api/health",
}
#: The way a value came -> the label ``job`` that it has.
WAYS = {"scrape": "mlflow-exporter", "Pushgateway": "mlflow_metrics"}
#: Seconds. A first start migrates MLflow's database.
HEALTHY_WITHIN, ANSWERS_WITHIN = 300, 60


def main() -> None:
    compose("up", "-d", *([] if os.environ.get("COMPOSE") else ["--build"]))
    services = set(compose("config", "--services", capture=True).split())
    wait_for("everything is healthy", HEALTHY_WITHIN, lambda: sick(services))
    print(compose("exec", "-T", "mlflow-exporter", "mlflow-monitoring-exporter", "generate-sample", capture=True))
    wait_for("Prometheus has MLflow's values, by both ways", ANSWERS_WITHIN, wrong_values)
    wait_for("Prometheus answers the queries of README.md", ANSWERS_WITHIN, unanswered)
    wait_for("no rule of ours fails", ANSWERS_WITHIN, failing_rules)


def sick(services: set[str]) -> list[str]:
    """What does not answer yet."""
    found = [name for name, page in PAGES.items() if name in services and not answers(page)]
    ready = subprocess.run(
        [*COMPOSE, "exec", "-T", "mlflow-exporter", "mlflow-monitoring-exporter-ready"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found if ready.returncode == 0 else [*found, f"mlflow-exporter ({ready.stdout.strip() or 'not started'})"]


def wrong_values() -> list[str]:
    """Series that differ from MLflow's own answer, and ways without any."""
    found = []
    truth = {run["info"]["run_id"]: run["data"].get("metrics", []) for run in runs()}
    uuids = {e["metric"]["run_id"]: e["metric"]["run_uuid"] for e in query("mlflow_run_info")}
    for way, job in WAYS.items():
        series = query(f'{{__name__=~"mlflow_.+",metric!="",run_id!="",job="{job}"}}')
        if not series:
            found.append(f"nothing by {way} yet")
        for element in series:
            labels, value = element["metric"], float(element["value"][1])
            logged = {m["key"]: m["value"] for m in truth.get(uuids.get(labels["run_id"], ""), [])}
            if not same(logged.get(labels["metric"]), value):
                found.append(f"{labels['metric']} of {labels['run_id']} by {way} is {value}")
        open_and_ended = {run for run, metrics in truth.items() if metrics}
        shown = {uuids.get(element["metric"]["run_id"], "") for element in series}
        if missing := open_and_ended - shown:
            found.append(f"{len(missing)} of {len(open_and_ended)} runs are missing by {way}")
    return found


def unanswered() -> list[str]:
    """Queries of README.md without an answer, but for those that ask whether something is wrong."""
    (block,) = re.findall(r"```promql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    queries = [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]
    return [text for text in queries if not query(text) and not re.search(r"[<>=] ?-?[\d.]+$", text)]


def failing_rules() -> list[str]:
    groups = ask(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    return [f"{rule['name']}: {rule['lastError']}" for rule in every if rule["health"] == "err"] or (
        [] if every and all(rule["health"] == "ok" for rule in every) else ["not evaluated yet"]
    )


def runs() -> list[Any]:
    body = {"max_results": 1000}
    experiments = ask(f"{MLFLOW}/api/2.0/mlflow/experiments/search", body)["experiments"]
    ids = [experiment["experiment_id"] for experiment in experiments]
    found = ask(f"{MLFLOW}/api/2.0/mlflow/runs/search", {**body, "experiment_ids": ids})
    return list(found.get("runs", []))


def same(logged: object, value: float) -> bool:
    """MLflow writes NaN as text, and infinities as the largest numbers."""
    if logged is None:
        return False
    number = float(str(logged))
    if math.isnan(number) or math.isnan(value):
        return math.isnan(number) and math.isnan(value)
    return number == value or (math.isinf(value) and abs(number) > 1.79e308 and number * value > 0)


def query(promql: str) -> list[Any]:
    return list(ask(f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': promql})}")["data"]["result"])


def ask(url: str, body: object = None) -> Any:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()  # urllib makes it a POST
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def compose(*arguments: str, capture: bool = False) -> str:
    done = subprocess.run(
        [*COMPOSE, *arguments], cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
    if done.returncode != 0:
        sys.exit(f"{shlex.join([*COMPOSE, *arguments])} failed with exit code {done.returncode}")
    return (done.stdout or "").strip()


def wait_for(what: str, within: float, wrong: Callable[[], list[str]]) -> None:
    """Until ``wrong()`` finds nothing any more; exits with what it still finds."""
    begin = time.monotonic()
    while True:
        try:
            found = wrong()
        except (OSError, KeyError) as error:
            found = [str(error)]
        if not found:
            print(f"ok  {what} ({time.monotonic() - begin:.0f} s)", flush=True)
            return
        if time.monotonic() - begin > within:
            sys.exit(f"not so after {within} s: {what}\n  " + "\n  ".join(found[:20]))
        time.sleep(1)


if __name__ == "__main__":
    main()
