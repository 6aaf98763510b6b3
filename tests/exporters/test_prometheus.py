"""The scrape endpoint's own part, through prometheus_client's parser and promtool."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.exporters.builtin.prometheus import PrometheusConfig, PrometheusExporter
from tests.exporters.samples import Shown, of_runs, snapshot
from tests.parts.programs import need


@pytest.fixture
def exporter() -> Iterator[PrometheusExporter]:
    made = PrometheusExporter(PrometheusConfig(type="prometheus"))
    made.start()
    made.check()
    yield made
    made.close()


def scraped(exporter: PrometheusExporter) -> bytes:
    return exporter.page.plain(openmetrics=False)


def lint(text: bytes) -> tuple[int, str]:
    """promtool's exit code and what it says; 3 is lint, 1 is unreadable."""
    done = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_it_shows_the_newest_snapshot_only(exporter: PrometheusExporter) -> None:
    assert scraped(exporter) == b""
    for value in (math.nan, 0.5):
        exporter.export(snapshot(loss=value), deadline=Deadline.after(1))
    (family,) = text_string_to_metric_families(scraped(exporter).decode())
    (sample,) = family.samples
    assert (sample.name, sample.value, sample.labels["metric"]) == ("mlflow_loss", 0.5, "loss")
    exporter.close()
    assert scraped(exporter) == b""


def test_a_family_of_several_experiments_has_its_help_and_type_once(exporter: PrometheusExporter) -> None:
    runs = [Shown(e, f"name {e}", e * 8, "", {"accuracy": v}) for e, v in (("a", 0.5), ("b", math.nan))]
    exporter.export(of_runs(runs), deadline=Deadline.after(1))
    lines = scraped(exporter).decode().splitlines()
    assert [line.split(" ")[:3] for line in lines if line.startswith("#")] == [
        ["#", "HELP", "mlflow_accuracy"],
        ["#", "TYPE", "mlflow_accuracy"],
    ]
    assert len(lines) == 4


def test_promtool_has_nothing_to_say_of_an_ordinary_key(exporter: PrometheusExporter) -> None:
    exporter.export(snapshot(accuracy=0.9), deadline=Deadline.after(1))
    assert lint(scraped(exporter)) == (0, "")


def test_what_promtool_says_of_other_keys_is_about_their_names_only(exporter: PrometheusExporter) -> None:
    exporter.export(snapshot(requests_total=1.0), deadline=Deadline.after(1))
    code, said = lint(scraped(exporter))
    assert code == 3
    assert said == 'mlflow_requests_total non-counter metrics should not have "_total" suffix\n'
