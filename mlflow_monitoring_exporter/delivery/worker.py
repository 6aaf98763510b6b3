"""One exporter's worker: queue -> retry -> deadline -> exporter.

::

    head ---> export ---> returned                     acknowledge, next
     ^           |
     |           +------> retryable, unauthorized      back off, then the head again
     |           +------> permanent, partial           set aside what was refused, next
     |           +------> crashed                      back off; set aside after five times
     +---- wake: something was queued

A worker never ends because of what its exporter does, and nobody waits for it but its own queue.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    sleep_using_event,
    stop_after_attempt,
    stop_before_delay,
    stop_when_event_set,
)

from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.delivery.backoff import Backoff
from mlflow_monitoring_exporter.delivery.feed import Feed, Item
from mlflow_monitoring_exporter.errors import (
    MonitoringExporterError,
    PartialExportError,
    PermanentExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

#: One attempt may take this long at most, whatever the exporter's own timeouts are.
EXPORT_TIMEOUT = 60.0
#: An exporter that cannot deliver but has nothing to deliver either is asked again this often.
_PROBE_EVERY = 15.0
#: A payload that crashes the exporter this often is set aside.
_CRASHES = 5
_NEVER = Deadline(math.inf)


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining achieved: samples (or series) delivered and set aside, and what stopped it."""

    delivered: int
    set_aside: int
    error: str | None


class Worker:
    """Delivers what waits in ``feed`` through ``exporter``, on one thread at a time."""

    def __init__(
        self, name: str, exporter: AnyExporter, feed: Feed, *, readiness: Readiness, metrics: SelfMetrics
    ) -> None:
        self.name = name
        self.component = f"exporters.{name}"
        self.exporter = exporter
        self.feed = feed
        self._readiness = readiness
        self._metrics = metrics
        self._log = _log.bind(exporter=name)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._drain_until = Deadline.after(0)
        self._able = False
        self._crashes = 0
        self._delivered = self._set_aside = 0
        readiness.expect(self.component, "has not been tried yet")
        metrics.introduce(name, queued=feed.durable)

    def wake(self) -> None:
        """Something waits in the feed."""
        self._wake.set()

    def stop(self, drain_until: Deadline) -> None:
        """Let :meth:`run` return once the feed is empty, an attempt fails, or ``drain_until`` passes."""
        self._drain_until = drain_until
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Deliver until :meth:`stop`."""
        patient = Retrying(
            wait=Backoff(),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            after=self._failed,
            reraise=True,
        )
        self._probe()
        while not self._stop.is_set():
            self._wake.clear()
            try:
                while patient(self._attempt_unless_stopped):
                    pass
            except Exception:  # noqa: BLE001, S112 - stopped while backing off; reported by _failed
                continue
            if not self._wake.wait(None if self._able else _PROBE_EVERY):
                self._probe()
        if not self._drain_until.expired:
            self.drain(self._drain_until, attempts=1)

    def drain(self, deadline: Deadline, *, attempts: int) -> Drained:
        """Deliver until nothing waits, ``attempts`` in a row failed, or ``deadline`` passes. Raises nothing."""
        self._delivered = self._set_aside = 0
        try:
            while not deadline.expired:
                retrying = Retrying(
                    wait=Backoff(),
                    stop=stop_after_attempt(attempts) | stop_before_delay(deadline.remaining()),
                    after=self._failed,
                    reraise=True,
                )
                if not retrying(self._attempt, deadline):
                    return Drained(self._delivered, self._set_aside, None)
        except Exception as error:  # noqa: BLE001 - the outcome is the report
            return Drained(self._delivered, self._set_aside, _say(error))
        return Drained(self._delivered, self._set_aside, "time ran out")

    def _attempt_unless_stopped(self) -> bool:
        # Stopping also ends a pause between attempts, and that must not be another attempt.
        return not self._stop.is_set() and self._attempt(_NEVER)

    def _attempt(self, until: Deadline) -> bool:
        """Deliver the head of the feed; false when nothing waits."""
        item = self.feed.head()
        if item is None:
            return False
        started = time.monotonic()
        try:
            self.exporter.export(item.payload, deadline=until.earlier(EXPORT_TIMEOUT))
        except PartialExportError as error:
            self._refused(item, error, len(error.rejected), rejected=error.rejected)
        except PermanentExportError as error:
            self._refused(item, error, item.size)
        except MonitoringExporterError:
            raise
        except Exception as error:
            self._crashes += 1
            if self._crashes == 1:
                self._log.exception("exporter crashed")
            if self._crashes < _CRASHES:
                raise
            self._refused(item, error, item.size)
        else:
            self.feed.acknowledge(item)
            self._succeeded(item.size)
        finally:
            self._metrics.export_duration.labels(self.name).observe(time.monotonic() - started)
        return True

    def _succeeded(self, size: int) -> None:
        self._crashes = 0
        self._delivered += size
        self._metrics.exports.labels(self.name, "ok").inc()
        self._metrics.export_success.labels(self.name).set_to_current_time()
        if self.feed.durable:
            self._metrics.delivered.labels(self.name).inc(size)
        self._log.debug("delivered", size=size)
        self._good()

    def _refused(self, item: Item, error: Exception, size: int, rejected: tuple[int, ...] | None = None) -> None:
        reason = _say(error)
        self.feed.set_aside(item, reason, rejected)
        self._crashes = 0
        self._set_aside += size
        self._delivered += item.size - size
        self._metrics.exports.labels(self.name, "rejected").inc()
        if self.feed.durable:
            self._metrics.dead.labels(self.name).inc(size)
            self._metrics.delivered.labels(self.name).inc(item.size - size)
            self._log.error("set aside as dead letter", samples=size, reason=reason)
            self._good()
        else:
            self._bad(reason)

    def _failed(self, state: RetryCallState) -> None:
        """One attempt raised: say what keeps the exporter from delivering."""
        error = state.outcome.exception() if state.outcome else None
        if error is None:
            return
        self._metrics.exports.labels(self.name, _result(error)).inc()
        self._log.debug("attempt failed", attempt=state.attempt_number, reason=_say(error))
        self._bad(_say(error))

    def _probe(self) -> None:
        """Find out whether the exporter could deliver, before there is anything to deliver."""
        try:
            self.exporter.check()
        except Exception as error:  # noqa: BLE001 - a foreign exporter may raise anything
            self._bad(_say(error))
        else:
            self._good()

    def _good(self) -> None:
        self._able = True
        self._readiness.good(self.component)

    def _bad(self, reason: str) -> None:
        self._able = False
        self._readiness.bad(self.component, reason)


def _say(error: BaseException) -> str:
    """An error on one line; a foreign one with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MonitoringExporterError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _result(error: BaseException) -> str:
    if isinstance(error, UnauthorizedExportError):
        return "unauthorized"
    return "retry" if isinstance(error, MonitoringExporterError) else "crashed"
