"""One tracking server that this process polls: the job, and when it runs."""

from __future__ import annotations

from mlflow_monitoring_exporter.schedule.job import PollJob
from mlflow_monitoring_exporter.schedule.timer import PollTimer


class Watch:
    """Polls at once, and then every ``interval`` seconds, from :meth:`start` to :meth:`stop`."""

    def __init__(self, job: PollJob, *, interval: float, jitter: float) -> None:
        self._timer = PollTimer(job, interval=interval, jitter=jitter, on_skipped=job.skipped)

    def start(self) -> None:
        self._timer.start()

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was. To be called every second or so."""
        return self._timer.check_clock()

    @property
    def alone(self) -> bool:
        """Nobody else delivers what waits."""
        return True

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait so many seconds for one that runs; whether it ended."""
        return self._timer.stop(within)
