"""Runs that end by themselves: one export, and a check that changes nothing."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_monitoring_exporter.assembly import Assembly
from mlflow_monitoring_exporter.config.schema import Config, StateConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.delivery.worker import Drained
from mlflow_monitoring_exporter.destinations import Destination, create_destinations, queues, register
from mlflow_monitoring_exporter.errors import SourceError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode
from mlflow_monitoring_exporter.exporters.registry import Plugins
from mlflow_monitoring_exporter.model import Snapshot
from mlflow_monitoring_exporter.process import Progress, Telemetry
from mlflow_monitoring_exporter.schedule.poll import Poller, PollEvents, PollReport
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.state.database import Database, copy_state
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.tracked import share_of_gauges
from mlflow_monitoring_exporter.transform.labels import AddedLabels
from mlflow_monitoring_exporter.transform.servers import Servers
from mlflow_monitoring_exporter.transform.view import SnapshotView

#: Attempts for each payload in a one-shot export.
_ATTEMPTS = 3


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

    ``better`` says of every metric key which values are better (``min``, ``max``, or None where nobody
    can say); only a check knows it.
    """

    servers: tuple[ServerReport, ...]
    destinations: tuple[DestinationReport, ...]
    better: Mapping[str, str | None] | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was read, and everything was delivered (or could be)."""
        read = all(server.error is None for server in self.servers)
        return read and all(d.error is None and d.set_aside == 0 for d in self.destinations)


def export_once(config: Config, plugins: Plugins, progress: Progress | None = None) -> OnceReport:
    """Read all of MLflow once and deliver everything that is new, a backlog included.

    A platform that fails keeps its samples in the queue for the next time. When MLflow cannot be
    read the backlog is delivered all the same. Raises ConfigError and StateError.
    """
    destinations = create_destinations(config, plugins)
    pushed = [destination for destination in destinations if not destination.scraped]
    telemetry = Telemetry()
    with Assembly(config, pushed, telemetry, progress, alone=True) as assembly:
        polled, drained = _poll_and_drain(assembly, config.export.drain_timeout)
        reports = []
        for destination in destinations:
            outcome = drained.get(destination.name)
            if outcome is None:
                note = "only while continuous runs"
                reports.append(_report(destination, note=note))
                continue
            bit = assembly.bits.get(destination.name)
            waiting = 0 if bit is None else assembly.outbox.ledger(bit).queued
            reports.append(
                _report(
                    destination,
                    delivered=outcome.delivered,
                    waiting=waiting,
                    set_aside=outcome.set_aside,
                    error=outcome.error,
                )
            )
        return OnceReport(polled, tuple(reports))


def _poll_and_drain(assembly: Assembly, seconds: float) -> tuple[tuple[ServerReport, ...], Mapping[str, Drained]]:
    """Poll and deliver; when a queue was too small for everything, again, as long as that helps."""
    pollers = {tracked.server: assembly.poller(tracked) for tracked in assembly.tracked}
    polled = {server: _poll(server, poller, complete=True) for server, poller in pollers.items()}
    drained = dict(assembly.workers.drain(Deadline.after(seconds), attempts=_ATTEMPTS))
    while left := [server for server, report in polled.items() if _is_left(report, drained)]:
        for server in left:
            again = _poll(server, pollers[server], complete=False)
            polled[server] = again if again.poll else replace(polled[server], error=again.error)
        for name, more in assembly.workers.drain(Deadline.after(seconds), attempts=_ATTEMPTS).items():
            drained[name] = more.plus(drained[name])
    found = [replace(polled[tracked.server], skipped=assembly.skipped[tracked.config]) for tracked in assembly.tracked]
    return tuple(found), drained


def _is_left(report: ServerReport, drained: Mapping[str, Drained]) -> bool:
    """Whether another poll would find room for something."""
    poll = report.poll
    if report.error is not None or poll is None or not (poll.full or poll.unfinished):
        return False
    return not any(drained[name].error for name in poll.full)


def check(config: Config, plugins: Plugins, progress: Progress | None = None) -> OnceReport:
    """Reach every endpoint, and count what would go where. Works on a copy of the state, and changes nothing.

    ``delivered`` in the report is what an export would deliver now. Raises ConfigError and StateError.
    """
    destinations = create_destinations(config, plugins)
    with tempfile.TemporaryDirectory(prefix="mlflow-monitoring-exporter-") as directory:
        copy = _copy_of_state(config.state, Path(directory))
        try:
            return _check(config, destinations, copy, progress or Progress())
        finally:
            copy.close()


def _check(config: Config, destinations: Sequence[Destination], state: Database, progress: Progress) -> OnceReport:
    outbox = Outbox(state)
    queued = [d for d in destinations if d.mode is DeliveryMode.EVERY]
    bits = register(outbox, config, queued)
    shown: list[Snapshot] = []
    gauges = Servers([server.name or "" for server in config.servers])
    polled = []
    better: dict[str, str | None] = {}
    for server in config.servers:
        skipped: list[str] = []
        source = open_source(
            server,
            stop=threading.Event(),
            concurrency=config.export.concurrency,
            params=AddedLabels(config.gauges.labels.add).params,
            on_skipped=lambda item, _reason, skipped=skipped: skipped.append(item),  # type: ignore[misc]
        )
        name = server.name or ""
        try:
            poller = Poller(
                source,
                config.export,
                gauges=share_of_gauges(config, server),
                database=state,
                queues=[replace(queue, max_bytes=sys.maxsize) for queue in queues(config, queued, bits)],
                events=PollEvents(
                    published=lambda snapshot, name=name: shown.append(gauges.put(name, snapshot)),  # type: ignore[misc]
                    loading=progress.runs,
                    sending=progress.series,
                ),
                stop=threading.Event(),
            )
            polled.append(replace(_poll(source.server, poller, complete=True), skipped=len(skipped)))
        finally:
            source.close()
        better |= {key: verdict.better for _, key, verdict in poller.verdicts()}
    errors = _check_all(destinations)
    reports = tuple(
        _report(
            d,
            delivered=outbox.ledger(bits[d.name]).queued if d.name in bits else _series_for(d, shown),
            error=errors[d.name],
        )
        for d in destinations
    )
    return OnceReport(tuple(polled), reports, better)


def _series_for(destination: Destination, shown: Sequence[Snapshot]) -> int:
    """How many series of the newest snapshot are for one exporter."""
    return SnapshotView(destination.config.select).of(shown[-1]).series_count if shown else 0


def _copy_of_state(config: StateConfig, directory: Path) -> Database:
    path = directory / "state.db"
    copy_state(config.url, path, config.secret("password").get)
    return Database(f"sqlite:///{path}")


def _poll(server: str, poller: Poller, *, complete: bool) -> ServerReport:
    try:
        return ServerReport(server, None, poller.run(complete=complete))
    except SourceError as error:
        return ServerReport(server, str(error), None)


def _check_all(destinations: Sequence[Destination]) -> dict[str, str | None]:
    """What keeps each destination from delivering, all asked at the same time."""
    found: dict[str, str | None] = {}

    def ask(destination: Destination, check_it: Callable[[], None]) -> None:
        try:
            check_it()
        except Exception as error:  # noqa: BLE001 - a foreign exporter may raise anything
            found[destination.name] = " ".join(str(error).split()) or type(error).__name__
        else:
            found[destination.name] = None
        finally:
            destination.exporter.close()

    threads = [threading.Thread(target=ask, args=(d, d.exporter.check), daemon=True) for d in destinations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _report(
    destination: Destination,
    *,
    delivered: int = 0,
    waiting: int = 0,
    set_aside: int = 0,
    error: str | None = None,
    note: str | None = None,
) -> DestinationReport:
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
