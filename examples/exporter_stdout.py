"""Prints every sample.

::

    exporters:
      stdout:
        type: stdout
        prefix: "mlflow: "
"""

from __future__ import annotations

from typing import Literal

from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.model import Batch


class StdoutConfig(BatchExporterConfig):
    type: Literal["stdout"]
    prefix: str = ""


class StdoutExporter:
    def __init__(self, config: StdoutConfig) -> None:
        self._prefix = config.prefix

    def start(self) -> None: ...

    def check(self) -> None: ...

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        for sample in payload.samples:
            print(f"{self._prefix}{sample.key} {sample.value}")

    def close(self) -> None: ...


plugin = ExporterPlugin(
    config=StdoutConfig,
    create=StdoutExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: "standard output",
)
