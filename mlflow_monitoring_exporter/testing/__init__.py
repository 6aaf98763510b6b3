"""Whether an exporter keeps the contract, as a pytest suite for whoever writes one. Needs pytest.

::

    class TestAcme(ExporterContract):            # HttpExporterContract for an HttpPlatform
        plugin = acme.plugin

        @pytest.fixture
        def platform(self):
            with AcmePlatform() as platform:     # an HttpPlatform, or anything that is a Platform
                yield platform
"""

import pytest

pytest.register_assert_rewrite(
    "mlflow_monitoring_exporter.testing.delivery_contract",
    "mlflow_monitoring_exporter.testing.exporter_contract",
    "mlflow_monitoring_exporter.testing.http_contract",
)

from mlflow_monitoring_exporter.testing.delivery_contract import DeliveryContract
from mlflow_monitoring_exporter.testing.exporter_contract import ExporterContract
from mlflow_monitoring_exporter.testing.http_contract import HttpExporterContract
from mlflow_monitoring_exporter.testing.http_platform import HttpPlatform, Reply, Request
from mlflow_monitoring_exporter.testing.payloads import make_batch, make_snapshot
from mlflow_monitoring_exporter.testing.platform import Fault, Platform

__all__ = [
    "DeliveryContract",
    "ExporterContract",
    "Fault",
    "HttpExporterContract",
    "HttpPlatform",
    "Platform",
    "Reply",
    "Request",
    "make_batch",
    "make_snapshot",
]
