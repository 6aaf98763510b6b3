"""One exporter's worker: queue -> retry -> deadline -> exporter.

::

    head ---> export ---> returned                     acknowledge, next
     ^           |
     |           +------> retryable                    back off, then the head again; when it always
     |           |                                     fails: is it the platform, or one sample? (poison.py)
     |           +------> unauthorized                 park: the same, slowly
     |           +------> permanent                    bisect; set aside what is refused alone
     |           +------> partial                      set aside what was refused, next
     |           +------> crashed                      back off; set aside after five times
     +---- wake: something was queued

A worker is ``closed`` while it delivers, ``backing_off`` after five failures in a row (or when the
platform asks for a long pause), and ``parked`` while its credentials are refused; the first success,
or a check that succeeds while nothing waits, closes it. It never ends because of what its exporter
does, and only its own queue waits for it.
"""

from __future__ import annotations

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

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    MonitoringExporterError,
    RetryableExportError,
    StateError,
    UnauthorizedExportError,
    describe,
)
from mlflow_monitoring_exporter.delivery.attempts import UNLIMITED, Attempts
from mlflow_monitoring_exporter.delivery.backoff import Backoff
from mlflow_monitoring_exporter.delivery.bisection import Refusals
from mlflow_monitoring_exporter.delivery.payload_source import Item, PayloadSource
from mlflow_monitoring_exporter.delivery.retry_after import LaterError, RetryAfter
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.telemetry.exporter_metrics import State
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

#: Failures in a row after which an exporter counts as unable to deliver.
_OPENS_AFTER = 5
#: A platform that asks for a longer pause than this (seconds) is unable at once.
_LONG_PAUSE = 30.0
#: An exporter that cannot deliver but has nothing to deliver either is asked again this often.
_PROBE_EVERY = 15.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining achieved: samples (or series) delivered and set aside, and what stopped it."""

    delivered: int
    set_aside: int
    error: str | None

    def plus(self, earlier: Drained) -> Drained:
        """Both together; the later outcome counts."""
        return Drained(self.delivered + earlier.delivered, self.set_aside + earlier.set_aside, self.error)


class Worker:
    """Delivers what waits in ``payloads`` through ``exporter``, on one thread at a time."""

    def __init__(
        self,
        name: str,
        exporter: AnyExporter,
        payloads: PayloadSource,
        *,
        readiness: Readiness,
        metrics: SelfMetrics,
        retry_after: RetryAfter | None = None,
    ) -> None:
        """``retry_after`` remembers what the platform asked for, for whoever comes next; without it nothing does."""
        self.name = name
        self.component = f"exporters.{name}"
        self.exporter = exporter
        self.payloads = payloads
        self._readiness = readiness
        self._metrics = metrics.exporters
        self._log = _log.bind(exporter=name)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._drain_until = Deadline.after(0)
        self.state = State.closed
        self._failures = 0
        self._probe_at = 0.0
        self._retry_after = retry_after or RetryAfter(name, "", None)
        self._sending = Attempts(
            name, exporter, payloads, stopping=self._stop.is_set, settled=self._keep_account, metrics=metrics
        )
        self._settled: tuple[Item, Refusals] | None = None
        #: Why the platform did not take all of the newest snapshot.
        self._refused = ""
        self._delivered = self._set_aside = 0
        self._proven = False
        self._settled_at = 0.0
        readiness.expect(self.component, "no delivery attempted yet")
        self._metrics.introduce(name, queued=payloads.durable)

    def wake(self) -> None:
        """Something waits in the payloads."""
        self._wake.set()

    def stop(self, drain_until: Deadline) -> None:
        """Let :meth:`run` return once the payloads is empty, an attempt fails, or ``drain_until`` passes."""
        self._drain_until = drain_until
        self._stop.set()
        self._wake.set()

    def is_promising(self, seconds: float) -> bool:
        """Whether something will be delivered, as far as anybody can say: something was within the last ``seconds``, or
        is on its way to a platform that had no trouble the last time.
        """
        lately = time.monotonic() - self._settled_at < seconds
        return lately or (self._sending.busy and self._proven and not self._failures)

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
            self._wake.wait(None if self.state is State.closed else _PROBE_EVERY)
            # A replica is woken often, whether or not another one enqueued something.
            if self.state is not State.closed and time.monotonic() >= self._probe_at:
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
                    return Drained(self._delivered, self._set_aside, self._refused or None)
        except Exception as error:  # noqa: BLE001 - the outcome is the report
            return Drained(self._delivered, self._set_aside, describe(error))
        return Drained(self._delivered, self._set_aside, "time ran out")

    def _attempt_unless_stopped(self) -> bool:
        # Stopping also ends a pause between attempts, and that must not be another attempt.
        return not self._stop.is_set() and self._attempt(UNLIMITED)

    def _attempt(self, until: Deadline) -> bool:
        """Deliver the head of the payloads; false when nothing waits."""
        if self._settled is None:
            item = self.payloads.head()
            if item is None:
                return False
            self._retry_after.check()
            self._settled = item, self._sending.deliver(item, until)
        # What the platform took is not sent again only because the disk is full.
        self._settle(*self._settled)
        self._settled = None
        return True

    def _settle(self, item: Item, refusals: Refusals) -> None:
        """Take ``item`` out of the payloads, and say how it went."""
        self._keep_account(item, refusals)
        self._retry_after.over()
        self._refused = "" if self.payloads.durable or not refusals else "; ".join(why.reason for why in refusals)
        if self._refused:
            self._unable(State.backing_off, self._refused)
        else:
            self._able()

    def _keep_account(self, item: Item, refusals: Refusals) -> None:
        refused = sum(map(len, refusals.values()))
        if refusals:
            self.payloads.set_aside(item, refusals)
        else:
            self.payloads.acknowledge(item)
        self._settled_at = time.monotonic()
        self._delivered += item.size - refused
        if self.payloads.durable:  # nothing is kept of a snapshot
            self._set_aside += refused
        self._metrics.exports.labels(self.name, "rejected" if refusals else "ok").inc()
        if not self.payloads.durable:
            self._metrics.series_refused.labels(self.name).set(refused)
        for refusal, indexes in refusals.items():
            if not self.payloads.durable and refusal.reason in self._refused:
                continue  # as the last snapshot was
            what = "kept as dead letters" if self.payloads.durable else "series were refused, and are offered again"
            self._log.error(what, size=len(indexes), status=refusal.status, reason=refusal.reason)
        if refused < item.size or not refusals:
            self._metrics.export_success.labels(self.name).set_to_current_time()

    def _failed(self, state: RetryCallState) -> None:
        """One attempt raised: count it, and say so once it is more than a hiccup."""
        error = state.outcome.exception() if state.outcome else None
        if error is None:
            return
        if isinstance(error, LaterError):
            self._back_off(error, error.retry_after)
            return
        self._failures += 1
        self._metrics.exports.labels(self.name, _result(error)).inc()
        if self.payloads.durable and (item := self._head()) is not None:
            self._metrics.retried.labels(self.name).inc(item.size)
        self._log.debug("attempt failed", attempt=state.attempt_number, reason=describe(error))
        if isinstance(error, UnauthorizedExportError | ConfigError):
            self._unable(State.parked, describe(error))
            return
        pause = error.retry_after if isinstance(error, RetryableExportError) else None
        if pause:
            self._retry_after.asked(pause, describe(error))
        self._back_off(error, pause)

    def _back_off(self, error: BaseException, pause: float | None) -> None:
        """Count as unable after a few failures in a row, or a long pause."""
        if self._failures >= _OPENS_AFTER or self.state is not State.closed or (pause or 0) > _LONG_PAUSE:
            self._unable(State.backing_off, describe(error))

    def _head(self) -> Item | None:
        try:
            return self.payloads.head()
        except StateError:
            return None

    def _probe(self) -> None:
        """Find out whether the exporter could deliver, before there is anything to deliver."""
        try:
            self._retry_after.check()
            self.exporter.check()
        except (UnauthorizedExportError, ConfigError) as error:
            self._unable(State.parked, describe(error))
        except Exception as error:  # noqa: BLE001 - a foreign exporter may raise anything
            self._unable(State.backing_off, describe(error))
        else:
            if self._refused:  # it answers, but not to this snapshot
                self._unable(State.backing_off, self._refused)
            else:
                self._able()

    def _able(self) -> None:
        self._failures, self._proven = 0, True
        self._enter(State.closed)
        self._readiness.good(self.component, state=self.state)

    def _unable(self, state: State, reason: str) -> None:
        self._probe_at = time.monotonic() + _PROBE_EVERY
        self._enter(state)
        self._readiness.bad(self.component, reason, state=state)

    def _enter(self, state: State) -> None:
        if state is State.parked and self.state is not State.parked:
            audit("exporter parked", exporter=self.name)
        elif self.state is State.parked and state is State.closed:
            audit("exporter no longer parked", exporter=self.name)
        self.state = state
        self._metrics.set_state(self.name, state)


def _result(error: BaseException) -> str:
    if isinstance(error, UnauthorizedExportError):
        return "unauthorized"
    return "retry" if isinstance(error, MonitoringExporterError) else "crashed"
