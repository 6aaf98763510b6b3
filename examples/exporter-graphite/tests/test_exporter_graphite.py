"""The exporter keeps the contract, and what arrives is what Graphite reads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from exporter_graphite import GraphiteConfig, GraphiteExporter, plugin

from mlflow_monitoring_exporter.plugin import Deadline
from mlflow_monitoring_exporter.testing import ExporterContract, Fault, make_batch


class Graphite:
    """As much of a Graphite as reads lines. It keeps one value for a path and a second, as Graphite does."""

    secrets: Collection[str] = ()

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._fault: Fault | None = None
        self._connections = 0
        self.kept: dict[tuple[str, int], float] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def settings(self) -> Mapping[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "timeout": "500ms"}

    def contacted(self) -> bool:
        return self._connections > 0

    def received(self) -> Collection[Hashable]:
        return list(self.kept)

    def suffer(self, fault: Fault | None) -> None:
        self._fault = fault

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self._connections += 1
                    self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        if self._fault is Fault.UNAVAILABLE:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # resets it
            return
        text = connection.makefile().read()
        if self._fault is Fault.SILENT:
            self._over.wait(1)
            return
        for line in text.splitlines():
            path, value, second = line.split(" ")
            self.kept[path, int(second)] = float(value)


class TestGraphite(ExporterContract):
    """The whole contract; a Graphite knows no credentials, refuses nothing, and has no place for a step."""

    plugin = plugin
    faults = (Fault.UNAVAILABLE, Fault.SILENT)
    carries = ("timestamp",)

    @pytest.fixture
    def platform(self) -> Iterator[Graphite]:
        graphite = Graphite()
        yield graphite
        graphite.close()


def test_a_line_is_path_value_and_second() -> None:
    graphite = Graphite()
    batch = make_batch(1)
    (sample,) = batch.samples
    exporter = GraphiteExporter(GraphiteConfig(type="graphite", host="127.0.0.1", port=graphite.port, prefix="ml"))
    exporter.export(batch, deadline=Deadline.after(5))
    graphite.close()
    path = f"ml.churn-classifier.{sample.run.run_id}.val_loss"
    assert graphite.kept == {(path, sample.timestamp_ms // 1000): sample.value}
