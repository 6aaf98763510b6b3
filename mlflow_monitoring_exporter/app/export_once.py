"""``export-once``: read all of MLflow, deliver everything that is new, and end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlflow_monitoring_exporter.app.assembly import Assembly
from mlflow_monitoring_exporter.app.destinations import create_destinations
from mlflow_monitoring_exporter.app.reports import OnceReport, ServerReport, polled, report_on
from mlflow_monitoring_exporter.app.self_monitoring import Progress, Telemetry
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.delivery.worker import Drained
from mlflow_monitoring_exporter.exporters.plugins import Plugins

#: Attempts for each payload in a one-shot export.
_ATTEMPTS = 3


def export_once(config: Config, plugins: Plugins, progress: Progress | None = None) -> OnceReport:
    """Read all of MLflow once and deliver everything that is new, a backlog included.

    A platform that fails keeps its samples in the queue for the next time. When MLflow cannot be
    read the backlog is delivered all the same. Raises ConfigError and StateError.
    """
    destinations = create_destinations(config, plugins)
    pushed = [destination for destination in destinations if not destination.scraped]
    telemetry = Telemetry()
    with Assembly(config, pushed, telemetry, progress, alone=True) as assembly:
        if assembly.spool is not None:
            assembly.spool.run_once(config.export.drain_timeout)  # first, so that what arrives is exported, too
            assembly.spool.stop(0.0)
        servers, drained = _poll_and_drain(assembly, config.export.drain_timeout)
        reports = []
        for destination in destinations:
            outcome = drained.get(destination.name)
            if outcome is None:
                note = "only while continuous runs"
                reports.append(report_on(destination, note=note))
                continue
            queue = assembly.queue_ids.get(destination.name)
            waiting = 0 if queue is None else assembly.outbox.ledger(queue).queued
            reports.append(
                report_on(
                    destination,
                    delivered=outcome.delivered,
                    waiting=waiting,
                    set_aside=outcome.set_aside,
                    error=outcome.error,
                )
            )
        assembly.give_back()
        return OnceReport(servers, tuple(reports))


def _poll_and_drain(assembly: Assembly, seconds: float) -> tuple[tuple[ServerReport, ...], Mapping[str, Drained]]:
    """Poll and deliver; when a queue was too small for everything, again, as long as that helps."""
    pollers = {tracked.server: assembly.poller(tracked) for tracked in assembly.tracked}
    reports = {server: polled(server, poller, complete=True) for server, poller in pollers.items()}
    drained = dict(assembly.workers.drain(Deadline.after(seconds), attempts=_ATTEMPTS))
    while left := [server for server, report in reports.items() if _is_left(report, drained)]:
        for server in left:
            again = polled(server, pollers[server], complete=False)
            reports[server] = again if again.poll else replace(reports[server], error=again.error)
        for name, more in assembly.workers.drain(Deadline.after(seconds), attempts=_ATTEMPTS).items():
            drained[name] = more.plus(drained[name])
    found = [replace(reports[tracked.server], skipped=assembly.skipped[tracked.config]) for tracked in assembly.tracked]
    return tuple(found), drained


def _is_left(report: ServerReport, drained: Mapping[str, Drained]) -> bool:
    """Whether another poll would find room for something."""
    poll = report.poll
    if report.error is not None or poll is None or not (poll.full or poll.unfinished):
        return False
    return not any(drained[name].error for name in poll.full)
