r"""Send a whole spool: one thread for each back end, one lock for each run.

::

    spool --> runs whose sender lock is free --> back end A: run, run, run ...
                                            \-> back end B: run, run, run ...     (waits for nobody)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow_monitoring_tracking.backends.contract import Backend, BackendError, Unauthorized, Unavailable
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.sending.breaker import Breaker
from mlflow_monitoring_tracking.sending.delivery import RunDelivery, parents
from mlflow_monitoring_tracking.sending.holding import HeldRuns, written
from mlflow_monitoring_tracking.settings import Delivery
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError

#: Seconds between two passes while something is left to send.
_PAUSE = 0.2


class _Worker:
    """One back end's work: how far each run is, and when to try again."""

    def __init__(self, spool: Path, backend: Backend, settings: Delivery) -> None:
        self.backend = backend
        self.breaker = Breaker(settings)
        self.thread: threading.Thread | None = None
        self.caught_up = -1  # the last wake since which everything was sent
        self._settings = settings
        self._parent_of = parents(spool, backend.name)
        self._deliveries: dict[Path, RunDelivery] = {}
        self._retries: dict[Path, Breaker] = {}

    def deliver(self, directory: RunDirectory, goes_on: Callable[[], bool]) -> RunDelivery | None:
        """Send what there is of one run; None if something is left."""
        retry = self._retries.setdefault(directory.path, Breaker(self._settings))
        if retry.is_open:
            return None
        try:
            delivery = self._deliveries.get(directory.path)
            if delivery is None:
                delivery = RunDelivery(directory, self.backend, self._settings, self._parent_of)
                self._deliveries[directory.path] = delivery
            sent = delivery.step(goes_on)
        except BackendError as error:
            after = error.retry_after if isinstance(error, Unavailable) else None
            refused = isinstance(error, Unauthorized)
            retry.failed(after, refused=refused)
            if self.breaker.failed(after, refused=refused):
                self._tell("auth_failed" if refused else "sync_delayed", directory, error)
            return None
        except (OSError, SpoolFormatError) as error:
            if retry.failed():
                self._tell("sync_delayed", directory, error)
            return None
        except Exception as error:  # noqa: BLE001 - a mistake in one run's way must not end the others'
            if retry.failed():
                event(
                    "sender_failed",
                    logging.ERROR,
                    platform=self.backend.name,
                    run_id=directory.label,
                    reason=repr(error),
                )
            return None
        retry.succeeded()
        if self.breaker.succeeded():
            event("sync_recovered", platform=self.backend.name)
        return delivery if sent else None

    def forget(self, directory: RunDirectory) -> None:
        """Nothing is left of this run."""
        self._deliveries.pop(directory.path, None)
        self._retries.pop(directory.path, None)

    def is_stuck(self, most: int) -> bool:
        """Whether each run that fails did so ``most`` times in a row."""
        failing = [retry.failures for retry in self._retries.values() if retry.failures]
        return bool(failing) and min(failing) >= most

    def _tell(self, name: str, directory: RunDirectory, error: Exception) -> None:
        event(name, logging.WARNING, platform=self.backend.name, run_id=directory.label, reason=error)


class Sender:
    """Sends the runs of a spool, for as long as nobody else sends them.

    ``backends`` is looked at before each pass, so one may be added while it works. ``keep`` are the seconds for
    which a run stays in the spool after every back end has all of it.
    """

    def __init__(
        self, spool: Path, backends: Mapping[str, Backend], settings: Delivery, keep: float = float("inf")
    ) -> None:
        self._spool = spool
        self._backends = backends
        self._settings = settings
        self._held = HeldRuns(settings.adopt_after, keep)
        self._workers: dict[str, _Worker] = {}
        self._stopped = False
        self._news = threading.Condition()
        self._wakes = 0

    def breakers(self) -> dict[str, Breaker]:
        """The breaker of each back end."""
        return {name: worker.breaker for name, worker in self._workers.items()}

    def start(self) -> None:
        """Send for ever, in threads of its own; also for a back end that was added since."""
        for worker in self._look():
            if worker.thread is None:
                name = f"tracking-{worker.backend.name}"
                worker.thread = threading.Thread(target=self._send_for_ever, args=(worker,), name=name, daemon=True)
                worker.thread.start()

    def run_once(self, until: float = float("inf")) -> bool:
        """Send until each back end has everything, or cannot be sent what is left for now; whether all have.

        That is so when its breaker opens, when it refuses the credentials or asks for a long pause, and when each
        run that is left failed as often as opens a breaker. ``until`` is of the monotonic clock; ``stop`` ends it, too.
        """
        results: list[bool] = []
        longest = max(self._settings.breaker_pause, 2 * self._settings.backoff_max)

        def goes_on() -> bool:
            return not self._stopped and time.monotonic() < until

        def work(worker: _Worker) -> None:
            breaker, most = worker.breaker, self._settings.breaker_failures
            while not (sent := self._pass(worker, goes_on)) and goes_on():
                if breaker.failures >= most or breaker.wait > longest or worker.is_stuck(most):
                    break
                self._wait(time.monotonic() + max(_PAUSE, min(breaker.wait, until - time.monotonic())))
            results.append(sent)

        workers = self._look()
        for worker in workers:
            worker.thread = threading.Thread(target=work, args=(worker,), daemon=True)
            worker.thread.start()
        for worker in workers:
            if worker.thread is not None:
                worker.thread.join()
                worker.thread = None
        return all(results) and len(results) == len(workers)

    def wake(self) -> None:
        """There is something new."""
        with self._news:
            self._wakes += 1
            self._news.notify_all()

    def wait_settled(self, until: float) -> bool:
        """Wait until each back end has everything, or those that have not fail; ``until`` is of the monotonic clock."""
        self.wake()
        wanted = self._wakes
        while behind := [worker for worker in self._workers.values() if worker.caught_up < wanted]:
            if time.monotonic() >= until or all(worker.breaker.failures for worker in behind):
                return False
            time.sleep(0.01)
        return True

    def stop(self, timeout: float = 0.0) -> None:
        """Send no more; waits ``timeout`` seconds at most for what is on its way."""
        self._stopped = True
        self.wake()
        end = time.monotonic() + timeout
        threads = [worker.thread for worker in self._workers.values() if worker.thread is not None]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            self._held.release()
            for worker in self._workers.values():
                worker.backend.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's locks."""
        self._held.forget()

    def _wait(self, until: float) -> None:
        with self._news:
            while not self._stopped and time.monotonic() < until:
                self._news.wait(max(0.0, until - time.monotonic()))

    def _look(self) -> list[_Worker]:
        for name, backend in dict(self._backends).items():
            if name not in self._workers or self._workers[name].backend is not backend:
                self._workers[name] = _Worker(self._spool, backend, self._settings)
        return list(self._workers.values())

    def _send_for_ever(self, worker: _Worker) -> None:
        while not self._stopped:
            seen = self._wakes
            sent = self._pass(worker, lambda: not self._stopped)
            if sent:
                worker.caught_up = seen
            until = time.monotonic() + (self._settings.interval if sent else max(_PAUSE, worker.breaker.wait))
            with self._news:
                while not self._stopped and time.monotonic() < until:
                    if self._wakes != seen and not worker.breaker.is_open:
                        break
                    self._news.wait(max(0.0, min(until - time.monotonic(), 1.0)))

    def _pass(self, worker: _Worker, goes_on: Callable[[], bool]) -> bool:
        """Each run once; whether nothing is left."""
        all_sent = True
        names = frozenset(self._backends)
        try:
            directories = list(run_directories(self._spool))
        except OSError as error:
            if worker.breaker.failed():
                event("sync_delayed", logging.ERROR, platform=worker.backend.name, reason=error)
            return False
        for directory in directories:
            if not goes_on() or worker.breaker.is_open:
                return False
            if not self._held.hold(directory, names):
                continue
            try:
                had = written(directory)
            except OSError:  # a segment was removed meanwhile
                all_sent = False
                continue
            delivery = worker.deliver(directory, goes_on)
            if delivery is None:
                all_sent = False
            elif delivery.progress.ended is not None and self._held.complete(
                directory, worker.backend.name, names, had
            ):
                for each in list(self._workers.values()):
                    each.forget(directory)
        return all_sent
