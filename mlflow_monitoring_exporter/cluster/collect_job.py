"""Collecting one experiment as a replica does it: nothing that goes wrong ends it, and everyone can see it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping

import structlog

from mlflow_monitoring_exporter.core.errors import SourceError, StateError
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.pipeline.queues import EnqueueReport
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.schedule.poll_job import STATE
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)


class CollectJob:
    """Collects experiments of ``servers``: tracking servers by identity, and what makes a new Queueing for each.

    A job takes about ``longest`` seconds at most; what is left by then is handed out ``again``.
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
        # One is used by one thread at a time.
        self._free: dict[str, queue.SimpleQueue[Enqueuer]] = {server: queue.SimpleQueue() for server in servers}
        self._longest = longest
        self._again = again
        self._metrics = metrics
        self._readiness = readiness

    def __call__(self, server: str, experiment: int, wanted: QueueSet) -> None:
        if server not in self._servers:
            return  # of a configuration that is not ours; who polls that server hands it out again
        try:
            queueing = self._free[server].get_nowait()
        except queue.Empty:
            queueing = self._servers[server]()
        try:
            queued = queueing.collect(experiment, wanted, until=time.monotonic() + self._longest)
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
            self._free[server].put(queueing)

    def _succeeded(self, experiment: int, queued: EnqueueReport) -> None:
        self._metrics.collects.labels("unfinished" if queued.unfinished else "ok").inc()
        if queued.full:
            names = ", ".join(queued.full)
            self._readiness.bad(STATE, f"queue full (state.max_size) for {names}; reading no points for it")
        else:
            self._readiness.good(STATE)
        changed = any(queued.enqueued.values())
        (_log.info if changed else _log.debug)("collected", experiment=experiment, enqueued=dict(queued.enqueued))
