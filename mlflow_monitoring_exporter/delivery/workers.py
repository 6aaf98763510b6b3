"""All workers of one daemon together: start, publish, stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.delivery.payload_source import SnapshotSource
from mlflow_monitoring_exporter.delivery.worker import Drained, Worker

_log = structlog.get_logger(__name__)

#: What a thread may need to notice that it is over, beyond the time it was given.
_GRACE = 1.0
#: Seconds between two looks at a thread that is to end.
_LOOK = 0.1


class Workers:
    """One thread per worker, or for a one-shot export one parallel drain of all."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = tuple(workers)
        self._threads: list[tuple[Worker, threading.Thread]] = []

    @property
    def components(self) -> tuple[str, ...]:
        """What readiness calls each."""
        return tuple(worker.component for worker in self._workers)

    def publish(self, snapshot: Snapshot) -> None:
        """Hand the newest snapshot to every exporter that wants it."""
        for worker in self._workers:
            if isinstance(worker.payloads, SnapshotSource):
                worker.payloads.put(snapshot)
                worker.wake()

    def wake(self) -> None:
        """Something was queued."""
        for worker in self._workers:
            worker.wake()

    def start(self) -> None:
        """Begin to deliver."""
        for worker in self._workers:
            thread = threading.Thread(target=worker.run, name=worker.component, daemon=True)
            thread.start()
            self._threads.append((worker, thread))

    def stop(self, drain_until: Deadline, *, grace: float = _GRACE, hopeless_after: float = math.inf) -> None:
        """Deliver what can be delivered before ``drain_until``, then end every thread.

        A thread that still waits for its platform ``grace`` seconds later is left to itself; sooner, when there was no
        hope for ``hopeless_after`` seconds that it would deliver anything.
        """
        for worker in self._workers:
            worker.stop(drain_until)
        asked = time.monotonic()
        until = Deadline(max(drain_until.at, asked)).later(grace)
        for worker, thread in self._threads:
            hopeless = Deadline(asked).later(hopeless_after)
            while thread.is_alive() and not (until.expired or hopeless.expired):
                thread.join(min(until.remaining(), _LOOK))
                if worker.is_promising(3 * _LOOK):
                    hopeless = Deadline.after(hopeless_after)
            if thread.is_alive():
                _log.warning("worker did not stop in time; its batch stays queued", exporter=worker.name)
        self._threads.clear()

    def drain(self, deadline: Deadline, *, attempts: int) -> Mapping[str, Drained]:
        """What each worker achieved before ``deadline``, all at the same time; only without :meth:`start`."""
        found: dict[str, Drained] = {}

        def run(worker: Worker) -> None:
            found[worker.name] = worker.drain(deadline, attempts=attempts)

        # Daemon threads: Ctrl-C does not wait for a platform that hangs.
        threads = [threading.Thread(target=run, args=(w,), name=w.component, daemon=True) for w in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found
