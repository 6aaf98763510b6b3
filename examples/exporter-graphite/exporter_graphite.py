"""Sends every sample to Graphite, in its plaintext protocol.

::

    exporters:
      graphite:
        type: graphite
        host: graphite.example
        port: 2003
        prefix: mlflow
"""

from __future__ import annotations

import math
import re
import socket
from typing import Literal

from pydantic import Field

from mlflow_monitoring_exporter.plugin import (
    Batch,
    BatchExporterConfig,
    Deadline,
    DeliveryMode,
    Duration,
    ExporterPlugin,
    RetryableExportError,
    Sample,
)

_ILLEGAL = re.compile(r"[^\w-]")


class GraphiteConfig(BatchExporterConfig):
    """The block in config.yaml. ``batch_size``, ``select``, ``rename`` and ``sample`` come with it."""

    type: Literal["graphite"]
    host: str = Field("localhost", min_length=1)
    port: int = Field(2003, ge=1, le=65535)
    prefix: str = Field("mlflow", pattern=r"^[\w.-]+$", description="before every path")
    timeout: Duration = Field(10.0, description="total time for one batch")


class GraphiteExporter:
    """One server; a connection for each batch."""

    def __init__(self, config: GraphiteConfig) -> None:
        self._config = config
        self._where = f"{config.host}:{config.port}"

    def start(self) -> None:
        """Nothing lasts."""

    def check(self) -> None:
        """Send nothing."""
        self._send(b"", Deadline.after(self._config.timeout))

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        # Graphite has no value that is not finite, and keeps the last of those that have one path and second.
        lines = [self._line(sample) for sample in payload.samples if math.isfinite(sample.value)]
        self._send("".join(lines).encode(), deadline.earlier(self._config.timeout))

    def close(self) -> None:
        """Nothing lasts."""

    def _line(self, sample: Sample) -> str:
        parts = (sample.run.experiment_name, sample.run.run_id, sample.key)
        path = ".".join(_ILLEGAL.sub("_", part) or "_" for part in parts)
        return f"{self._config.prefix}.{path} {sample.value!r} {sample.timestamp_ms // 1000}\n"

    def _send(self, data: bytes, deadline: Deadline) -> None:
        """Graphite says nothing: that it has read all of it shows in its closing the connection after us."""
        try:
            with socket.create_connection((self._config.host, self._config.port), deadline.remaining()) as connection:
                _wait(connection, deadline)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                _wait(connection, deadline)
                if connection.recv(1):
                    raise RetryableExportError(f"{self._where} answers, so it is not a Graphite")
        except (OSError, ValueError) as error:
            reason = "timed out" if deadline.expired else getattr(error, "strerror", None) or str(error)
            raise RetryableExportError(f"{self._where}: {reason}") from None


def _wait(connection: socket.socket, deadline: Deadline) -> None:
    """Whatever comes next ends in time. Zero would mean not to wait at all."""
    connection.settimeout(max(deadline.remaining(), 0.001))


plugin = ExporterPlugin(
    config=GraphiteConfig,
    create=GraphiteExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: f"{config.host}:{config.port}",
)
