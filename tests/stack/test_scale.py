"""Dashboards over a store of 10,000 runs: no panel asks for more than a person can look at."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bench.store import Size, store
from tests.parts.command import continuous
from tests.parts.prometheus_server import Prometheus
from tests.stack.conftest import api, prometheus_as_shipped
from tests.stack.test_dashboards import BOARDS, PANELS, substituted

#: Series of a picture, and rows of a table.
SERIES, ROWS = 50, 100
CONFIG = """
mlflow: {tracking_uri: "sqlite:///%s"}
export: {max_experiments: 0, runs_interval: 1s, history: false}
gauges: {max_series: 60000, runs: {last: 100}}
exporters: {prometheus: {}}
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped all of the 10,000 runs, of which 200 have not ended, in the way that is shipped."""
    here = tmp_path_factory.mktemp("scale")
    (here / "config.yaml").write_text(CONFIG % store(here, Size(10_000, metrics=8, running=200)))
    (here / "alerts.yml").write_text("groups: []\n")
    with continuous(cwd=here) as daemon:
        absent = {"pushgateway": "127.0.0.1:9", "alertmanager": "127.0.0.1:9"}
        targets = {"mlflow-exporter": daemon.url.removeprefix("http://"), **absent}
        with prometheus_as_shipped(here / "prometheus", targets, here / "alerts.yml") as started:
            started.wait_for("sum(mlflow_experiment_runs) == 10000", bool, within=180)
            started.wait_for("count(run:mlflow_run_attention:max) > 1500", bool, within=90)
            yield started


def asked(name: str) -> list[tuple[str, bool]]:
    return [(substituted(t["expr"], "mlflow-exporter"), bool(t.get("instant"))) for t in PANELS[name]["targets"]]


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_asks_for_no_more_than_a_person_can_look_at(name: str, prometheus: Prometheus) -> None:
    total = 0
    for expression, instant in asked(name):
        if instant:
            found = api(prometheus, "query", query=expression)["result"]
        else:
            now = time.time()
            moments = {"start": str(now - 60), "end": str(now), "step": "5"}
            found = api(prometheus, "query_range", query=expression, **moments)["result"]
        if PANELS[name]["type"] == "table":
            assert len(found) <= ROWS, expression
        else:
            total += len(found)
    assert total <= SERIES


def test_there_is_more_than_that() -> None:
    assert len(BOARDS) == 9
    assert len(PANELS) > 50


def test_runs_to_look_at_begin_with_those_that_run_or_failed(prometheus: Prometheus) -> None:
    (panel,) = [panel for panel in PANELS.values() if panel["title"] == "Runs to look at"]
    (rank,) = [t["expr"] for t in panel["targets"] if t["refId"] == "Rank"]
    (info,) = [t["expr"] for t in panel["targets"] if t["refId"] == "Info"]
    found = {
        element["metric"]["run_id"]: float(element["value"][1])
        for element in api(prometheus, "query", query=substituted(rank, "mlflow-exporter"))["result"]
    }
    status = {
        element["metric"]["run_id"]: element["metric"]["status"]
        for element in api(prometheus, "query", query=substituted(info, "mlflow-exporter"))["result"]
    }
    assert found.keys() == status.keys()
    assert set(status.values()) <= {"RUNNING", "FAILED"}, "of 10,000 runs these are enough for all rows"
