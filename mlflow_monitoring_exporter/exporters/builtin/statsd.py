"""Sends the current gauges over UDP to a StatsD server or the Datadog agent.

::

    exporters:
      statsd:
        type: statsd
        host: localhost
        port: 8125
        flavor: dogstatsd                # or statsd, which knows no tags: label values become parts of the name
        prefix: ""

Both know neither times nor receipts: they get all current values with every poll, and it is unknown whether
they arrived. To keep histories use an exporter that receives every sample.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import RetryableExportError
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.prometheus.label_lengths import shortened

#: What separates the parts of a line, and those of a list.
_TAG = re.compile(r"[|,#\r\n]")
_NAME = re.compile(r"[^A-Za-z0-9_-]")
#: Of a tag, its name and its value, Datadog keeps so many characters.
_LONGEST_TAG = 200
#: Bytes of a datagram that no usual network cuts in pieces.
_DATAGRAM = 1432


class StatsdConfig(ExporterConfig):
    """A StatsD server."""

    type: Literal["statsd"]
    host: str = Field("localhost", min_length=1, description="of the server or agent")
    port: int = Field(8125, ge=1, le=65535, description="UDP")
    flavor: Literal["dogstatsd", "statsd"] = Field("dogstatsd", description="with tags, or without")
    prefix: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$", description="before every name")


class StatsdExporter:
    """One server, and the socket to it."""

    def __init__(self, config: StatsdConfig) -> None:
        self._config = config
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Nothing: a name that cannot be resolved yet may be later."""

    def check(self) -> None:
        """Only whether the name can be resolved; UDP gives no answer."""
        self._connect().close()

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:
        try:
            self._socket = self._socket or self._connect()
            for datagram in _packed(self._lines(payload)):
                if deadline.expired:
                    raise RetryableExportError(f"{_target(self._config)}: timed out")
                self._socket.send(datagram)
        except OSError as error:
            self.close()  # the name may mean another address the next time
            raise RetryableExportError(f"{_target(self._config)}: {error.strerror or error}") from None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        host, port = self._config.host, self._config.port
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            connected = socket.socket(family, kind, protocol)
            connected.connect(address)
        except (OSError, UnicodeError) as error:
            raise RetryableExportError(f"{_target(self._config)}: {getattr(error, 'strerror', error)}") from None
        return connected

    def _lines(self, snapshot: Snapshot) -> Iterator[str]:
        tagged = self._config.flavor == "dogstatsd"
        for family in snapshot.families():
            name = self._config.prefix + family.name
            for series in family.series:
                if not math.isfinite(series.value):
                    continue
                pairs = [(label, value) for label, value in zip(family.labels, series.labels, strict=True) if value]
                if tagged:
                    tags = ",".join(f"{label}:{_value(label, value)}" for label, value in pairs)
                    yield f"{name}:{series.value!r}|g" + (f"|#{tags}" if tags else "")
                else:
                    path = ".".join([name, *(_NAME.sub("_", value) for _, value in pairs)])
                    # With a sign a value changes the gauge, so that it must be zero before.
                    yield (f"{path}:0|g\n" if series.value < 0 else "") + f"{path}:{series.value!r}|g"


def _value(label: str, value: str) -> str:
    """A tag's value, short enough that the tag is taken whole: of two that are cut alike one would be lost."""
    return _TAG.sub("_", shortened(value, _LONGEST_TAG - len(label) - 1))


def _packed(lines: Iterable[str]) -> Iterator[bytes]:
    """As many lines in each datagram as fit."""
    waiting = b""
    for line in lines:
        encoded = line.encode()
        if waiting and len(waiting) + 1 + len(encoded) > _DATAGRAM:
            yield waiting
            waiting = b""
        waiting += b"\n" + encoded if waiting else encoded
    if waiting:
        yield waiting


def _target(config: StatsdConfig) -> str:
    return f"{config.host}:{config.port}"


plugin = ExporterPlugin(config=StatsdConfig, create=StatsdExporter, mode=DeliveryMode.LATEST, target=_target)
