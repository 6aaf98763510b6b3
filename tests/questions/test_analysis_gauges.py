"""The daemon's gauges of analysis, over a real store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from mlflow_monitoring_exporter.app.analysis_gauges import AnalysisLoop
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.run_store import RunStore

PLUGINS = load_plugins()


def configured(directory: Path, uri: str, more: str = "") -> Config:
    path = directory / "config.yaml"
    path.write_text(
        f"mlflow: {{tracking_uri: '{uri}'}}\n"
        f"analysis: {{every: 1h{more}}}\n"
        "exporters: {prometheus: {type: prometheus}}\n"
    )
    return load_config(path, exporter_types=PLUGINS.config_types, environ={})


def shown(metrics: SelfMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    """The gauges of analysis: by name, the values by labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        if family.name.startswith("mlflow_experiment_"):
            found[family.name] = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store = RunStore(tmp_path_factory.mktemp("analysis-gauges"))
    churn = store.experiment("churn")
    for n in range(20):
        rate, seed = str(0.01 * (1 + n // 2)), str(n % 2)
        value = 0.5 + 0.02 * (n // 2) + 0.001 * (n % 2)
        groups = {"val/accuracy/women": value - 0.1, "val/accuracy/men": value} if n == 19 else {}
        store.run(
            churn,
            start=1_000_000 + n,
            metrics={"val/accuracy": value, **groups},
            params={"rate": rate, "seed": seed},
        )
    store.experiment("empty")
    return store


def test_what_runs_say_together_is_on_the_page(store: RunStore, tmp_path: Path) -> None:
    metrics = SelfMetrics(Readiness())
    with ExitStack() as opened:
        loop = AnalysisLoop(configured(tmp_path, store.uri), lambda: True, metrics, opened)
        assert shown(metrics) == {}, "nothing before the first"
        loop.look()
        found = shown(metrics)
    key = ("churn", "val/accuracy")
    assert found["mlflow_experiment_best_delta"] == {key: pytest.approx(0.001)}
    assert found["mlflow_experiment_repeats_stddev"] == {key: pytest.approx(0.001 / 2**0.5)}
    assert found["mlflow_experiment_fairness_gap"] == {key: pytest.approx(0.1)}
    assert found["mlflow_experiment_fairness_ratio"] == {key: pytest.approx(0.581 / 0.681)}
    importance = found["mlflow_experiment_param_importance"]
    assert importance[*key, "rate"] > 0.8
    assert importance[*key, "rate"] > importance.get((*key, "seed"), 0.0)
    assert shown(metrics) == {}, "nor after it was closed"


def test_importance_and_runs_are_a_choice(store: RunStore, tmp_path: Path) -> None:
    metrics = SelfMetrics(Readiness())
    with ExitStack() as opened:
        AnalysisLoop(
            configured(tmp_path, store.uri, ", runs: 2, importance: false"), lambda: True, metrics, opened
        ).look()
        found = shown(metrics)
    assert "mlflow_experiment_param_importance" not in found
    assert found["mlflow_experiment_best_delta"] == {("churn", "val/accuracy"): pytest.approx(0.001)}


def test_what_was_found_stays_while_mlflow_is_away(store: RunStore, tmp_path: Path) -> None:
    metrics = SelfMetrics(Readiness())
    with ExitStack() as opened:
        loop = AnalysisLoop(configured(tmp_path, store.uri, ", importance: false"), lambda: True, metrics, opened)
        loop.look()
        before = shown(metrics)
        aside = store.path.rename(store.path.with_suffix(".aside"))
        try:
            with capture_logs() as logs:
                loop.look()
        finally:
            aside.rename(store.path)
        assert shown(metrics) == before
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["runs cannot be analysed"]


def test_a_thread_looks_again_and_ends_when_told(store: RunStore, tmp_path: Path) -> None:
    metrics = SelfMetrics(Readiness())
    with ExitStack() as opened:
        config = configured(tmp_path, store.uri, ", importance: false")
        config = config.model_copy(update={"analysis": config.analysis.model_copy(update={"every": 0.05})})
        asked: list[bool] = []

        def counts() -> bool:
            asked.append(len(asked) % 2 == 0)
            return asked[-1]

        loop = AnalysisLoop(config, counts, metrics, opened)
        loop.start()
        while len(asked) < 4:
            loop._stop.wait(0.01)
        loop.stop(5)
        assert not loop._thread.is_alive()


def test_without_an_interval_there_is_nothing(store: RunStore, tmp_path: Path) -> None:
    metrics = SelfMetrics(Readiness())
    with ExitStack() as opened:
        config = configured(tmp_path, store.uri)
        loop = AnalysisLoop(
            config.model_copy(update={"analysis": config.analysis.model_copy(update={"every": None})}),
            lambda: True,
            metrics,
            opened,
        )
        loop.start()
        loop.look()
        assert shown(metrics) == {}
        loop.stop(1)
