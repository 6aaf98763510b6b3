"""Collects the points of one experiment; no failure ends the replica, and each is logged and counted."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping

import structlog

from mlflow_monitoring_exporter.core.errors import SourceError, StateError
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.pipeline.queues import EnqueueReport
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.schedule.poll_job import report_queues
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)


class CollectJob:
    """Collects experiments of ``servers``, which maps the identity of each tracking server to a factory of Enqueuers.

    A job takes about ``longest`` seconds at most; ``again`` hands out what is left by then.
    """

    def __init__(
        self,
        servers: Mapping[str, Callable[[], Enqueuer]],
        *,
        longest: float,
        again: Callable[[str, int, QueueSet], None],
        metrics: SelfMetrics,
        readiness: Readiness,
    ) -> None:
        self._servers = servers
        # An Enqueuer is for one thread at a time.
        self._free: dict[str, queue.SimpleQueue[Enqueuer]] = {server: queue.SimpleQueue() for server in servers}
        self._longest = longest
        self._again = again
        self._metrics = metrics
        self._readiness = readiness

    def __call__(self, server: str, experiment: int, wanted: QueueSet) -> None:
        if server not in self._servers:
            return  # of another configuration; the replica that polls that server hands it out again
        try:
            enqueuer = self._free[server].get_nowait()
        except queue.Empty:
            enqueuer = self._servers[server]()
        try:
            queued = enqueuer.collect(experiment, wanted, until=time.monotonic() + self._longest)
            if queued.unfinished:
                self._again(server, experiment, wanted)
        except PollInterruptedError:
            return
        except (SourceError, StateError) as error:
            self._metrics.collects.labels("failed").inc()
            _log.info("collect failed; requeued", experiment=experiment, reason=str(error))
        except Exception:  # noqa: BLE001 - a bug here must not end the replica
            self._metrics.collects.labels("failed").inc()
            _log.exception("collect crashed", experiment=experiment)
        else:
            self._succeeded(experiment, queued)
        finally:
            self._free[server].put(enqueuer)

    def _succeeded(self, experiment: int, queued: EnqueueReport) -> None:
        self._metrics.collects.labels("unfinished" if queued.unfinished else "ok").inc()
        report_queues(self._readiness, queued.full)
        changed = any(queued.enqueued.values())
        (_log.info if changed else _log.debug)("collected", experiment=experiment, enqueued=dict(queued.enqueued))
