"""Every built-in exporter keeps the contract, by the very suite that third parties use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.exporters.builtin import (
    file,
    http_json,
    influx,
    otlp,
    pramathus,
    prometheus,
    pushgateway,
    remote_write,
    statsd,
)
from mlflow_monitoring_exporter.exporters.registry import load_plugins
from mlflow_monitoring_exporter.model import Batch, Snapshot
from mlflow_monitoring_exporter.testing import DeliveryContract, ExporterContract, Fault
from tests.exporters import platforms


class TestPramathus(ExporterContract):
    plugin = pramathus.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.JsonPlatform]:
        with platforms.JsonPlatform() as platform:
            yield platform


class TestHttpJson(ExporterContract):
    plugin = http_json.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.TemplatePlatform]:
        with platforms.TemplatePlatform() as platform:
            yield platform


class TestRemoteWrite(ExporterContract):
    plugin = remote_write.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.RemoteWritePlatform]:
        with platforms.RemoteWritePlatform() as platform:
            yield platform


class TestInflux(ExporterContract):
    plugin = influx.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.InfluxPlatform]:
        with platforms.InfluxPlatform() as platform:
            yield platform


class TestOtlpOverHttp(ExporterContract):
    plugin = otlp.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.OtlpHttpPlatform]:
        with platforms.OtlpHttpPlatform() as platform:
            yield platform


class TestOtlpOverGrpc(ExporterContract):
    plugin = otlp.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.OtlpGrpcPlatform]:
        with platforms.OtlpGrpcPlatform() as platform:
            yield platform


class TestPushgateway(ExporterContract):
    plugin = pushgateway.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.PushgatewayPlatform]:
        with platforms.PushgatewayPlatform() as platform:
            yield platform


class TestFile(ExporterContract):
    plugin = file.plugin
    faults = (Fault.UNAVAILABLE,)

    @pytest.fixture
    def platform(self, tmp_path: Path) -> platforms.FilePlatform:
        return platforms.FilePlatform(tmp_path)


class TestPrometheus(DeliveryContract):
    """It is asked, and asks nobody: nothing can be wrong with its platform."""

    plugin = prometheus.plugin

    @pytest.fixture
    def platform(self, monkeypatch: pytest.MonkeyPatch) -> platforms.ScrapedPlatform:
        platform = platforms.ScrapedPlatform()
        start = prometheus.PrometheusExporter.start

        def remember(exporter: prometheus.PrometheusExporter) -> None:
            platform.exporter = exporter
            start(exporter)

        monkeypatch.setattr(prometheus.PrometheusExporter, "start", remember)
        return platform


class TestStatsd(DeliveryContract):
    """Nobody answers on UDP."""

    plugin = statsd.plugin

    @pytest.fixture
    def platform(self) -> Iterator[platforms.StatsdPlatform]:
        with platforms.StatsdPlatform() as platform:
            yield platform

    @staticmethod
    def size(payload: Batch | Snapshot) -> int:
        assert isinstance(payload, Snapshot)
        return sum(math.isfinite(s.value) for family in payload.families() for s in family.series)


def test_no_built_in_exporter_is_missing_here() -> None:
    tested = {of.plugin.config.__module__ for name, of in globals().items() if name.startswith("Test")}
    assert tested == {plugin.config.__module__ for plugin in load_plugins().values()}
