"""How long does Prometheus take for the slowest panel of any dashboard, and for the rules, over 10,000 runs?

Everything is as it is shipped but for the intervals, and the daemon may show six times as many series as by default. A
second is allowed for a panel, all of its queries together, over six hours as Grafana asks for them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from bench.store import Size, store
from tests.parts.command import continuous
from tests.parts.prometheus_server import Prometheus
from tests.stack.conftest import api, prometheus_as_shipped
from tests.stack.test_dashboards import PANELS, substituted

_ALLOWED = 1.0
#: As Grafana asks for a picture that is 1,000 pixels wide.
_HOURS, _STEP = 6, 15


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the slowest as a share of what is allowed; ``quick`` is a tenth of the runs."""
    runs = 1_000 if quick else 10_000
    here = (directory / "dashboards").resolve()
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    config = {
        "mlflow": {"tracking_uri": f"sqlite:///{store(directory, Size(runs, metrics=8, running=200)).resolve()}"},
        "export": {"max_experiments": 0, "history": False},
        "gauges": {"max_series": 60_000, "runs": {"last": 100}},
        "exporters": {"prometheus": {}},
    }
    (here / "config.yaml").write_text(json.dumps(config))
    (here / "alerts.yml").write_text("groups: []\n")
    with continuous(cwd=here) as daemon:
        absent = {"pushgateway": "127.0.0.1:9", "alertmanager": "127.0.0.1:9"}
        targets = {"mlflow-exporter": daemon.url.removeprefix("http://"), **absent}
        with prometheus_as_shipped(here / "prometheus", targets, here / "alerts.yml") as prometheus:
            prometheus.wait_for(f"sum(mlflow_experiment_runs) == {runs}", bool, within=300)
            time.sleep(30)  # so that there is something to draw
            taken = {name: _seconds(prometheus, name) for name in PANELS}
            rules = max(v for _, v in prometheus.query("prometheus_rule_group_last_duration_seconds"))
    slowest = max(taken, key=taken.__getitem__)
    print(f"\npanels over {runs} runs; the slowest is {slowest}")
    print(f"  {'':<34}{'ratio':>8}{'worst s':>9}{'median s':>10}{'allowed s':>11}")
    median = statistics.median(taken.values())
    print(f"  {'panels':<34}{taken[slowest] / _ALLOWED:>8.2f}{taken[slowest]:>9.3f}{median:>10.3f}{_ALLOWED:>11}")
    print(
        f"  {'one evaluation of a group of rules':<34}{rules / _ALLOWED:>8.2f}{rules:>9.3f}{'':>10}{_ALLOWED:>11}",
        flush=True,
    )
    results = {
        "panels": {"ratio": taken[slowest] / _ALLOWED, "worst": taken[slowest], "median": median, "amount": len(taken)},
        "one evaluation of a group of rules": {"ratio": rules / _ALLOWED, "worst": rules, "median": rules, "amount": 1},
    }
    if taken[slowest] > _ALLOWED:
        raise AssertionError(f"{slowest} takes {taken[slowest]:.2f} s, more than the {_ALLOWED} s that are allowed")
    return [{"title": "dashboards", "yardstick": "allowed", "amount": "panels", "results": results}]


def _seconds(prometheus: Prometheus, name: str) -> float:
    """All queries of a panel, one after the other."""
    began = time.monotonic()
    for target in PANELS[name]["targets"]:
        expression = substituted(target["expr"], "mlflow-exporter")
        if target.get("instant"):
            api(prometheus, "query", query=expression)
        else:
            now = time.time()
            moments = {"start": str(now - 3600 * _HOURS), "end": str(now), "step": str(_STEP)}
            api(prometheus, "query_range", query=expression, **moments)
    return time.monotonic() - began
