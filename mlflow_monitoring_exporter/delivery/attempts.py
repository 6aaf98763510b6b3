"""What becomes of one payload, attempt after attempt?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    MonitoringExporterError,
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    describe,
)
from mlflow_monitoring_exporter.core.values import Batch, Snapshot
from mlflow_monitoring_exporter.delivery.bisection import EXPORT_TIMEOUT, Bisection, Refusals
from mlflow_monitoring_exporter.delivery.payload_source import Item, PayloadSource
from mlflow_monitoring_exporter.delivery.poison import PoisonSearch, doubtful
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.state.payload import Refusal
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics

_log = structlog.get_logger(__name__)

#: Until the worker stops.
UNLIMITED = Deadline(math.inf)
#: A payload that crashes the exporter this often is set aside.
_CRASHES = 5
#: Of what waits behind a batch that fails: so many are tried before the platform counts as away.
_BESIDE = 2


class Attempts:
    """Sends the payloads of one payloads. ``settled`` hears of every one that was delivered beside its turn.

    ``busy`` says, to any thread, whether a payload is on its way now.
    """

    def __init__(
        self,
        name: str,
        exporter: AnyExporter,
        payloads: PayloadSource,
        *,
        stopping: Callable[[], bool],
        settled: Callable[[Item, Refusals], None],
        metrics: SelfMetrics,
    ) -> None:
        self._exporter = exporter
        self._payloads = payloads
        self._stopping = stopping
        self._settled = settled
        self._duration = metrics.exporters.export_duration.labels(name)
        self._log = _log.bind(exporter=name)
        self.busy = False
        self._payload: Batch | Snapshot | None = None
        self._first_ms = 0
        self._crashes = 0
        self._search: PoisonSearch | None = None
        #: What was tried last of those that wait behind, and which of them failed, by their ids.
        self._behind: Item | None = None
        self._failed: set[str] = set()

    def deliver(self, item: Item, until: Deadline) -> Refusals:
        """What the platform refused of ``item``; it has everything else. Raises ExportError, or what crashed."""
        if not self._is_known(item.payload):
            self._payload, self._first_ms, self._crashes, self._behind = item.payload, now_ms(), 0, None
            self._failed.clear()
            self._search = PoisonSearch(item.payload, self._first_ms) if isinstance(item.payload, Batch) else None
        started = time.monotonic()
        self.busy = True
        try:
            if isinstance(item.payload, Snapshot):
                return self._show(item, item.payload, until)
            return self._deliver(item, until)
        except MonitoringExporterError:
            raise
        except Exception as error:
            self._crashes += 1
            if self._crashes == 1:
                self._log.exception("exporter crashed")
            if self._crashes < _CRASHES:
                raise
            refusal = Refusal(describe(error), None, self._first_ms)
            return self._search.remaining(refusal) if self._search else {refusal: range(item.size)}
        finally:
            self.busy = False
            self._duration.observe(time.monotonic() - started)

    def _is_known(self, payload: Batch | Snapshot) -> bool:
        """Whether this is what was sent the last time. Not by its content: NaN differs from itself."""
        known = self._payload
        if isinstance(payload, Batch) and isinstance(known, Batch):
            return payload.batch_id == known.batch_id
        return payload is known

    def _show(self, item: Item, snapshot: Snapshot, until: Deadline) -> Refusals:
        """Series are refused, by their places in the snapshot."""
        try:
            self._exporter.export(snapshot, deadline=until.earlier(EXPORT_TIMEOUT))
        except PermanentExportError as error:
            places = range(item.size) if error.rejected is None else error.rejected
            return {Refusal(describe(error), error.status, self._first_ms): places}
        except PartialExportError as error:
            return {Refusal(describe(error), None, self._first_ms): error.rejected}
        return {}

    def _deliver(self, item: Item, until: Deadline) -> Refusals:
        def send(batch: Batch) -> Refusals:
            return Bisection(self._exporter, batch, until, self._first_ms).run()

        def over() -> bool:
            return until.expired or (until is UNLIMITED and self._stopping())

        if self._search is None:
            raise TypeError(type(item.payload))
        return self._search.attempt(send, lambda: self._deliver_another(item, until), over)

    def _deliver_another(self, item: Item, until: Deadline) -> bool | None:
        """Whether the platform takes what waits behind ``item``; not always the same, which may be as bad.

        None when nothing does, or nothing but what failed before: that says nothing.
        """
        taken: bool | None = None
        tried: set[str] = set()
        while len(tried) < _BESIDE:
            other = self._payloads.behind(self._behind or item)
            if other is None and self._behind is not None:
                other = self._payloads.behind(item)
            if other is None or not isinstance(other.payload, Batch) or other.payload.batch_id in tried:
                return taken
            batch, self._behind = other.payload, other
            tried.add(batch.batch_id)
            outcome = self._deliver_behind(other, batch, until)
            if outcome:
                return True
            if outcome is False and batch.batch_id not in self._failed:
                self._failed.add(batch.batch_id)
                taken = False
        return taken

    def _deliver_behind(self, other: Item, batch: Batch, until: Deadline) -> bool | None:
        """Whether the platform takes it; None when it refuses all of it outright."""
        try:
            refusals = Bisection(self._exporter, batch, until, now_ms()).run()
        except RetryableExportError as error:
            if not doubtful(error):
                raise
            return False
        except MonitoringExporterError:
            raise
        except Exception as error:  # noqa: BLE001 - its own turn comes
            self._log.debug("exporter crashed", reason=describe(error))
            return False
        self._settled(other, refusals)
        self._failed.discard(batch.batch_id)
        return sum(map(len, refusals.values())) < other.size or None
