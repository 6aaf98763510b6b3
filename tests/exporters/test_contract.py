"""Every built-in exporter keeps the contract, by the very suite that third parties use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlflow_monitoring_exporter.core.values import Batch, Snapshot
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
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.testing import DeliveryContract, ExporterContract, Fault, HttpExporterContract
from tests.exporters import platforms


class Served:
    """The fixture of a suite whose platform is one for a ``with``."""

    make: ClassVar[Any]

    @pytest.fixture
    def platform(self) -> Iterator[Any]:
        with self.make() as platform:
            yield platform


class TestPramathus(Served, HttpExporterContract):
    plugin = pramathus.plugin
    make = platforms.JsonPlatform


class TestHttpJson(Served, HttpExporterContract):
    plugin = http_json.plugin
    make = platforms.TemplatePlatform


class TestRemoteWrite(Served, HttpExporterContract):
    plugin = remote_write.plugin
    make = platforms.RemoteWritePlatform
    idempotency_key = None
    carries = ("timestamp",)


class TestInflux(Served, HttpExporterContract):
    plugin = influx.plugin
    make = platforms.InfluxPlatform
    idempotency_key = None


class TestOtlpOverHttp(Served, HttpExporterContract):
    plugin = otlp.plugin
    make = platforms.OtlpHttpPlatform
    idempotency_key = None


class TestOtlpOverGrpc(Served, ExporterContract):
    plugin = otlp.plugin
    make = platforms.OtlpGrpcPlatform


class TestPushgateway(Served, HttpExporterContract):
    plugin = pushgateway.plugin
    make = platforms.PushgatewayPlatform


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


class TestStatsd(Served, DeliveryContract):
    """Nobody answers on UDP."""

    plugin = statsd.plugin
    make = platforms.StatsdPlatform

    @staticmethod
    def size(payload: Batch | Snapshot) -> int:
        assert isinstance(payload, Snapshot)
        return sum(math.isfinite(s.value) for family in payload.families() for s in family.series)


def test_no_built_in_exporter_is_missing_here() -> None:
    tested = {of.plugin.config.__module__ for name, of in globals().items() if name.startswith("Test")}
    assert tested == {plugin.config.__module__ for plugin in load_plugins().values()}
