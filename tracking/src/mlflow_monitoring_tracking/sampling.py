"""System metrics of runs: one thread samples the machine for a whole tree of processes, into one of its runs.

::

    nested runs of one process           the run that began first gets the samples; when it ends, the next one
    ranks of one run on one machine      the rank that holds the lock ``<run>/<machine>.sampler``; when it dies, another
    a process that a training starts     none of its runs, for as long as the training is sampled
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mlflow_monitoring_tracking.capture.system_metrics import SystemReader
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.process import process
from mlflow_monitoring_tracking.spool.layout import RunDirectory
from mlflow_monitoring_tracking.spool.locks import HeldLock, acquire, is_held

#: Seconds between two samples at least: a reading takes about a millisecond.
_SHORTEST = 0.1
#: How many processes a launcher started in all, and how many of them on this machine.
_SIZES = (("WORLD_SIZE", "LOCAL_WORLD_SIZE"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"))


class SampledRun(Protocol):
    """A run that gets samples."""

    def sampled(self, values: Mapping[str, float], step: int) -> None:
        """Record values of one moment; does nothing once the run has ended."""
        ...


@dataclass(eq=False, slots=True)
class _Wish:
    """A run that is open. ``step`` is that of its next sample; ``due`` when that is, by the monotonic clock."""

    run: SampledRun
    directory: RunDirectory
    interval: float
    due: float
    step: int = 0


class Sampler:
    """The one of this process: ``sampler``. Its thread lives while a run is open that wants samples."""

    def __init__(self) -> None:
        self._watches_forks = False
        self._host = os.uname().nodename.replace("/", "_")
        self._reset()

    def _reset(self) -> None:
        self._wishes: list[_Wish] = []
        self._held: tuple[_Wish, HeldLock] | None = None
        self._thread: threading.Thread | None = None
        # Of all queues and locks this one may be used by a signal handler in the middle of itself.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self, run: SampledRun, directory: RunDirectory, interval: float) -> None:
        """Sample into this run every ``interval`` seconds, if nobody else samples for it."""
        with process.lock:
            if not self._watches_forks:
                self._watches_forks = True
                os.register_at_fork(after_in_child=self._in_child)
            interval = max(_SHORTEST, interval)
            self._wishes.append(_Wish(run, directory, interval, time.monotonic() + interval))
            if self._thread is None:
                self._thread = threading.Thread(target=self._sample, name="tracking-system-metrics", daemon=True)
                self._thread.start()

    def stop(self, run: SampledRun) -> None:
        """The run ends."""
        with process.lock:
            self._wishes = [wish for wish in self._wishes if wish.run is not run]
        self._news.put(None)

    def _sample(self) -> None:
        try:
            reader = SystemReader(node())
        except ImportError as error:
            reason = f"{error}; pip install 'mlflow-monitoring-tracking[system]'"
            event("backend_unavailable", logging.WARNING, platform="system_metrics", reason=reason)
            return  # and the thread is not started again
        news = self._news
        while (wish := self._first()) is not None:
            with suppress(queue.Empty):
                news.get(timeout=max(0.0, wish.due - time.monotonic()))
                continue  # a run ended: perhaps it was this one
            wish.due = max(wish.due, time.monotonic() - wish.interval) + wish.interval
            if self._holds(wish, reader):
                wish.run.sampled(reader.read(), wish.step)
                wish.step += 1

    def _first(self) -> _Wish | None:
        """The run that began first of those that are open; without any the thread ends."""
        with process.lock:
            wish = self._wishes[0] if self._wishes else None
            if self._held is not None and self._held[0] is not wish:
                self._held[1].release()
                self._held = None
            if wish is None:
                self._thread = None
            return wish

    def _holds(self, wish: _Wish, reader: SystemReader) -> bool:
        """Whether this process samples for the run. Asked before each sample, as another one's sampler may be gone."""
        if self._held is not None:
            self._held[1].touch()
            return True
        if reader.is_below(self._samplers(wish)):
            return False
        with suppress(OSError):  # a disk that is full or read-only: then nothing can be recorded, either
            if (lock := acquire(wish.directory.sampler(self._host))) is not None:
                self._held = wish, lock
        return self._held is not None

    def _samplers(self, wish: _Wish) -> frozenset[int]:
        """Processes of this machine that sample into this spool."""
        found = set()
        for path in wish.directory.path.parent.glob(f"*/{wish.directory.sampler(self._host).name}"):
            with suppress(OSError, ValueError):
                pid = int(path.read_text())
                if pid != os.getpid() and is_held(path):
                    found.add(pid)
        return frozenset(found)

    def _in_child(self) -> None:
        """A forked child samples nothing: its parent does."""
        if self._held is not None:
            self._held[1].forget()
        self._reset()


def node(environ: Mapping[str, str] = os.environ) -> str | None:
    """What tells this machine from others of the same run, as MLflow lets it be said; None where there are none."""
    if given := environ.get("MLFLOW_SYSTEM_METRICS_NODE_ID"):
        return given
    several = environ.get("SLURM_NNODES", "1") != "1" or any(
        environ.get(everywhere, "") != environ.get(here, "") for everywhere, here in _SIZES if here in environ
    )
    return os.uname().nodename if several else None


sampler = Sampler()
