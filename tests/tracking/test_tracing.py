"""Spans around batches, through a real OpenTelemetry SDK; without it nothing is different."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mlflow_monitoring_tracking import ExperimentTracker
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import RunState, Unavailable
from mlflow_monitoring_tracking.backends.traced import TracedBackend, traced
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Tracing
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened, Point
from tests.tracking.conftest import Programs

_RUN = Opened(FORMAT, "key", "traced", None, 1, True, "host", 1)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a program's own SDK is given."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


class Target:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.spans: list[Any] = []

    def log_param(self, key: str, value: str) -> None:
        pass

    def log_metric(self, key: str, value: float, step: int | None) -> None:
        self.spans.append(trace.get_current_span().get_span_context().span_id)
        if self.failure is not None:
            raise self.failure


def _calls(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_each_batch_of_a_back_end_has_a_span(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    config = {
        "tracking_dir": str(tmp_path),
        "mode": "offline",
        "auto_log": {"enabled": False},
        "database": {"url": f"sqlite:///{tmp_path}/runs.db"},
        "local": {"enabled": False},
        "tracing": {"enabled": True, "sample_rate": 1},
    }
    with ExperimentTracker(config).start_run("traced") as run:
        run.log_param("lr", 1)
        for step in range(2500):
            run.log_metric("loss", step, step=step)
    settings = load(config, {})
    sender = Sender(settings.spool_dir, backends(settings), settings.delivery)
    assert sender.run_once()
    sender.stop()
    calls = _calls(spans)
    sent = [int(str((span.attributes or {})["tracking.records"])) for span in calls["tracking.log_points"]]
    assert sum(sent) == 2500
    assert len(sent) == 3
    assert len(calls["tracking.log_params"]) == len(calls["tracking.end"]) == 1
    assert dict(calls["tracking.end"][0].attributes or {}) == {
        "tracking.platform": "database",
        "tracking.run_key": run.run_key,
        "tracking.experiment": "traced",
        "tracking.records": 1,
    }


def test_a_failure_is_in_the_span_and_is_raised(spans: InMemorySpanExporter) -> None:
    tracker = ExperimentTracker({"tracing": {"enabled": True, "sample_rate": 1}, "mode": "offline"})
    target = Target(ConnectionError("nobody there"))
    tracker.backends["mine"] = target
    backend = tracker.backends.contract["mine"]
    with pytest.raises(Unavailable, match="nobody there"):
        backend.log_points(_RUN, RunState(), [Point("loss", 1.0, 1, 1)])
    [span] = spans.get_finished_spans()
    assert not span.status.is_ok
    assert "nobody there" in str(span.status.description)
    assert span.context is not None
    assert target.spans == [span.context.span_id]  # what it calls itself is below the span


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (0.2, 20, 80), (1.0, 200, 200)])
def test_the_rate_is_the_share_of_batches_that_have_one(
    spans: InMemorySpanExporter, rate: float, least: int, most: int
) -> None:
    tracker = ExperimentTracker({"tracing": {"enabled": True, "sample_rate": rate}, "mode": "offline"})
    target = Target()
    tracker.backends["mine"] = target
    for step in range(200):
        tracker.backends.contract["mine"].log_points(_RUN, RunState(), [Point("loss", 1.0, step, 1)])
    assert len(target.spans) == 200
    assert least <= len(spans.get_finished_spans()) <= most


def test_without_the_package_or_the_wish_nothing_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in backends(load({}, {})).values():
        assert not isinstance(backend, TracedBackend)
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        assert traced(backend, Tracing(enabled=True)) is backend


def test_a_training_without_tracing_imports_none_of_it(online: Programs) -> None:
    online.run(
        """
        import sys
        from mlflow_monitoring_tracking import start_experiment
        with start_experiment("e") as run:
            run.log_metric("a", 1)
        assert run.wait_synced(60)
        assert "opentelemetry" not in sys.modules
        """
    )
