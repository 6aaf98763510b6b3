"""The tracking servers that this process polls: the jobs, and when they run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mlflow_monitoring_exporter.schedule.job import PollJob
from mlflow_monitoring_exporter.schedule.timer import PollTimer


class Watch:
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


class Watches:
    """All of a daemon on its own."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = tuple(watches)

    @property
    def alone(self) -> bool:
        """Nobody else delivers what waits."""
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


def stop_all(watches: Sequence[Watch], within: float) -> bool:
    """Stop each of them; whether all ended in so many seconds."""
    until = time.monotonic() + within
    ended = [watch.stop(max(0.0, until - time.monotonic())) for watch in watches]
    return all(ended)
