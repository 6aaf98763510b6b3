"""What ``export-once`` and ``check`` found and did, by tracking server and by exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_monitoring_exporter.app.destinations import Destination
from mlflow_monitoring_exporter.core.errors import SourceError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode
from mlflow_monitoring_exporter.pipeline.poll import Poller, PollReport


@dataclass(frozen=True, slots=True)
class DestinationReport:
    """What became of one exporter.

    ``unit`` says what ``delivered`` counts: samples or series. ``waiting`` and ``set_aside`` are
    samples. ``error`` is None when all is well, ``note`` says why there was nothing to do.
    """

    name: str
    type: str
    target: str
    unit: str
    delivered: int = 0
    waiting: int = 0
    set_aside: int = 0
    error: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What became of one tracking server. ``error`` is None when it was read; ``poll`` is the last one that was whole.

    ``skipped`` counts records that could not be read.
    """

    server: str
    error: str | None
    poll: PollReport | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class OnceReport:
    """What one export, or a check, found and did.

    ``better`` says of every metric key which values are better (``min``, ``max``, or None where that is
    unknown); only a check knows it.
    """

    servers: tuple[ServerReport, ...]
    destinations: tuple[DestinationReport, ...]
    better: Mapping[str, str | None] | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was read, and everything was delivered (or could be)."""
        read = all(server.error is None for server in self.servers)
        return read and all(d.error is None and d.set_aside == 0 for d in self.destinations)


def polled(server: str, poller: Poller, *, complete: bool) -> ServerReport:
    """One poll; an error of MLflow becomes part of the report."""
    try:
        return ServerReport(server, None, poller.run(complete=complete))
    except SourceError as error:
        return ServerReport(server, str(error), None)


def report_on(
    destination: Destination,
    *,
    delivered: int = 0,
    waiting: int = 0,
    set_aside: int = 0,
    error: str | None = None,
    note: str | None = None,
) -> DestinationReport:
    """What became of one exporter, in the unit that it counts."""
    unit = "samples" if destination.mode is DeliveryMode.EVERY else "series"
    return DestinationReport(
        destination.name,
        destination.config.type,
        destination.target,
        unit,
        delivered=delivered,
        waiting=waiting,
        set_aside=set_aside,
        error=error,
        note=note,
    )
