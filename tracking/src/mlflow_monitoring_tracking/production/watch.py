"""The deployments that this process serves, their file of counts, and the thread that closes windows."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.process import process
from mlflow_monitoring_tracking.production import feature_files
from mlflow_monitoring_tracking.production.counts import Counts
from mlflow_monitoring_tracking.production.deployment import Deployment, Options, known_classes
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.journal import Journal
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.processes import fold, open_counts, totals
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.locks import HeldLock, acquire

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.production.windows import Windows

#: Seconds that the end of a process waits for its last window.
_PATIENCE = 5.0
#: Seconds after which it is tried again to make a file of counts where none could be made.
_AGAIN = 10.0


class Watch:
    """Of one directory in one process. Its thread starts with the first prediction, so that a fork before it is free.

    :param seconds: how long a window is.
    :param start_run: starts the run of a day of a deployment.
    """

    def __init__(self, place: ProductionDirectory, seconds: float, start_run: Callable[[Served, str], Run]) -> None:
        self._place, self._seconds, self._start_run = place, seconds, start_run
        self._deployments: dict[Served, Deployment] = {}
        self._inherited: list[object] = []
        self._reset()
        os.register_at_fork(after_in_child=self._in_child)
        process.before_end(self.stop)

    def _reset(self) -> None:
        self._counts: Counts | None = None
        self._not_before = 0.0
        self._journal = Journal(self._place.journal)
        self._thread: threading.Thread | None = None
        self._leads: tuple[HeldLock, Windows] | None = None
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._ended = threading.Event()

    def deployment(self, served: Served, options: Options) -> Deployment:
        """What counts for this version of a deployment; options that are others count from now on."""
        with self._lock:
            known = self._deployments.get(served)
            if known is None or known.options != options:
                known = self._deployments[served] = Deployment(
                    served, options, self._open, self._classes, lambda: self._journal
                )
            return known

    def _open(self) -> Counts:
        """The file of this process; asked for by its first prediction."""
        with self._lock:
            if self._counts is None:
                if time.monotonic() < self._not_before:
                    raise OSError(errno.EAGAIN, "no file of counts can be made", str(self._place.counts))
                try:
                    fold(self._place.counts)  # of dead workers, where no process leads for long
                    self._counts = open_counts(self._place.counts)
                except OSError:
                    self._not_before = time.monotonic() + _AGAIN  # and not with each request
                    raise
                self._begin()
            return self._counts

    def journal(self) -> Journal:
        """That of this process."""
        with self._lock:
            self._begin()
            return self._journal

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._close_windows, name="tracking-production", daemon=True)
            self._thread.start()

    def _classes(self, served: Served) -> list[str]:
        return known_classes(totals(self._place.counts), served)

    def _close_windows(self) -> None:
        ended = self._ended
        end = self._next()
        while not ended.wait(max(0.0, end - time.time())):
            self.close(round(end * 1000))
            end = self._next()

    def _next(self) -> float:
        """The end of the window that is open, in seconds since 1970: the same in all processes."""
        return (time.time() // self._seconds + 1) * self._seconds

    def close(self, end_ms: int) -> None:
        """The window that ends then is over."""
        if not self._closing.acquire(timeout=_PATIENCE):
            return
        try:
            self._journal.flush()
            self._write_features(end_ms)
            if self._leads is None and (lock := acquire(self._place.leader)) is not None:
                from mlflow_monitoring_tracking.production.windows import Windows

                self._leads = lock, Windows(self._place, self._seconds, self._start_run)
            if self._leads is not None:
                self._leads[0].touch()
                self._leads[1].close(end_ms)
        except Exception as error:  # noqa: BLE001 - the next window may do, and requests go on
            event("window_failed", logging.WARNING, path=self._place.path, reason=f"{type(error).__name__}: {error}")
        finally:
            self._closing.release()

    def _write_features(self, end_ms: int) -> None:
        seen = {served: deployment.take() for served, deployment in list(self._deployments.items())}
        if any(seen.values()):
            feature_files.write(self._place.features, end_ms, {served: one for served, one in seen.items() if one})

    def stop(self) -> None:
        """Close no more windows; the open one is cut short. What this process knows is in the totals."""
        if self._thread is None or self._ended.is_set():
            return
        self._ended.set()
        # Not on this thread: a signal may have interrupted it while it held a lock.
        last = threading.Thread(target=self.close, args=(round(time.time() * 1000),), daemon=True)
        try:
            last.start()
            last.join(_PATIENCE)
        except RuntimeError:  # Python 3.12 starts no thread any more at its end
            self.close(round(time.time() * 1000))
        if self._leads is not None:
            self._leads[1].stop()
            self._leads[0].release()
            self._leads = None

    def _in_child(self) -> None:
        self._journal.forget()
        if self._counts is not None:
            self._counts.forget()
        if self._leads is not None:
            self._leads[0].forget()
            self._inherited.append(self._leads)  # not closed: its database is the parent's
        self._reset()
        for deployment in self._deployments.values():
            deployment.forked()
