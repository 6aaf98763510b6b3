"""The tracking servers that this process polls: the jobs, and when they run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from mlflow_monitoring_exporter.pipeline.dispatch import HandOut
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.schedule.poll_job import PollJob
from mlflow_monitoring_exporter.schedule.timer import PollTimer


class PollLoop:
    """Polls one tracking server at once, and then every ``interval`` seconds, from :meth:`start` to :meth:`stop`."""

    def __init__(self, job: PollJob, *, interval: float, jitter: float) -> None:
        self._timer = PollTimer(job, interval=interval, jitter=jitter, on_skipped=job.skipped)

    def start(self) -> None:
        self._timer.start()

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was. To be called every second or so."""
        return self._timer.check_clock()

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait so many seconds for one that runs; whether it ended."""
        return self._timer.stop(within)


class Roles(Protocol):
    """What this process may do for one tracking server."""

    component: str
    """What readiness calls the server."""

    def poll_loop(self, hand_out: HandOut | None) -> PollLoop:
        """Polls it; with ``hand_out`` histories become jobs of all replicas."""
        ...

    def enqueuer(self) -> Enqueuer:
        """Reads its points; used by one thread at a time."""
        ...

    def released(self) -> None:
        """Another replica owns it now."""
        ...


class PollLoops:
    """All of a daemon on its own."""

    def __init__(self, watches: Sequence[PollLoop]) -> None:
        self._watches = tuple(watches)

    @property
    def alone(self) -> bool:
        """No other replica delivers the backlog."""
        return True

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    def check_clock(self) -> bool:
        """As each watch does it."""
        moved = [watch.check_clock() for watch in self._watches]
        return any(moved)

    def stop(self, within: float) -> bool:
        """As each watch does it, in so many seconds together."""
        return stop_all(self._watches, within)


def stop_all(watches: Sequence[PollLoop], within: float) -> bool:
    """Stop each of them; whether all ended in so many seconds."""
    until = time.monotonic() + within
    ended = [watch.stop(max(0.0, until - time.monotonic())) for watch in watches]
    return all(ended)
